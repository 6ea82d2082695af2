"""Frames of a video by their numbers, as a host asks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pro_engine as pro
from pro_engine.io.video import VideoWriter
from pro_engine.jobs import video_frames
from pro_engine.jobs.video_frames import VideoFrames

GREYS = [40, 90, 140, 190]

pytest.importorskip("av", reason="the extra video is not installed")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A grey for each frame."""
    path = tmp_path / "greys.mp4"
    with VideoWriter(path) as writer:
        for k, grey in enumerate(GREYS):
            writer.write(np.full((64, 96, 3), grey, np.uint8), k / 25)
    return path


def test_frames_come_by_their_numbers_in_any_order(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, opened = VideoFrames(), []
    monkeypatch.setattr(video_frames, "open_video", _counted(opened))
    for number in (1, 2, 4, 3, 3):
        photo = frames.photo(video, number)
        assert photo.name == f"greys.{number:04d}" and photo.number == number
        assert abs(float(photo.load(None).image.mean()) - GREYS[number - 1]) < 4
    assert len(opened) == 3, "once for 1, 2 and 4, then once for each that goes back"
    frames.close()


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "1"])
def test_what_is_no_number_of_a_frame_is_told(video: Path, number: object) -> None:
    with pytest.raises(pro.InputError, match="whole number from 1"):
        VideoFrames().photo(video, number)


def test_a_frame_that_is_not_there_is_told_and_others_still_come(video: Path) -> None:
    frames = VideoFrames()
    with pytest.raises(pro.FileError, match="no frame 5: 4 could be read"):
        frames.photo(video, 5)
    assert frames.photo(video, 2).number == 2
    frames.close()


def _counted(opened: list[Path]):
    open_video = video_frames.open_video

    def opening(path: Path):
        opened.append(path)
        return open_video(path)

    return opening

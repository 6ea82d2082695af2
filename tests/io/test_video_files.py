"""Videos as they are made: colours, turns, sizes, times, and damage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")

from av.video.reformatter import Colorspace
from videos import frame, number_of, write_sound, write_video

from pro_engine.errors import DependencyError, FileError, InputError
from pro_engine.io.video import _CODECS, VideoWriter, open_video


def read(path: Path) -> tuple[list[np.ndarray], list[float], Any]:
    """Pictures, times in seconds, and the reader with what it found."""
    with open_video(path) as video:
        frames = list(video)
        return [one.image() for one in frames], [one.time_s for one in frames], video


def off(image: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference away from outlines, at which halved colours are mixed."""
    assert image.shape == wanted.shape
    return float(np.abs(image.astype(int) - wanted)[60:, 40:, :][-30:, -30:].max())


KINDS = {
    "12:30, h264.mp4": {},
    "full.mov": {"full": True},
    "bt601.mkv": {"matrix": 5},
    "bt2020, 10 bit.mkv": {
        "codec": "libx265", "pixels": "yuv420p10le", "matrix": 9,
        "options": {"x265-params": "lossless=1:log-level=none"},
    },
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le", "options": {}},
    "small and unnamed.avi": {"matrix": 5, "named": False, "codec": "mpeg4", "options": {"qscale": "1"}},
    "hd and unnamed.mkv": {"named": False, "size": (1280, 720)},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"lossless": "1"}},
    "odd.mp4": {"size": (161, 121), "pixels": "yuv444p"},
    "odd and halved.mkv": {"size": (161, 121), "codec": "ffv1", "options": {}},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_frames_come_in_order_with_their_colours(tmp_path: Path, name: str) -> None:
    if KINDS[name].get("matrix") == 9 and not hasattr(Colorspace, "BT2020"):
        pytest.skip("This PyAV does not write BT.2020.")
    video = write_video(tmp_path / name, **KINDS[name])
    images, times, reader = read(video)
    assert [number_of(image) for image in images] == [1, 2, 3, 4, 5, 6]
    assert np.allclose(times, np.arange(6) / 25, atol=1e-3)
    size = KINDS[name].get("size", (160, 120))
    for number, image in enumerate(images, 1):
        assert off(image, frame(number, *size)) <= (8 if name.endswith("avi") else 5)
    assert reader.expected == 6 and reader.fault is None and reader.notes == ()


@pytest.mark.parametrize("rotate", [90, 180, -90])
@pytest.mark.parametrize("mirror", [False, True])
def test_frames_are_turned_upright(tmp_path: Path, rotate: int, mirror: bool) -> None:
    images, _, _ = read(write_video(tmp_path / "turned.mov", 1, rotate=rotate, mirror=mirror))
    wanted = np.rot90(frame(1), rotate // 90)
    wanted = wanted[:, ::-1] if mirror else wanted
    assert images[0].shape == wanted.shape and images[0].flags.c_contiguous
    assert np.abs(images[0].astype(int) - wanted).mean() < 4


def test_pixels_are_made_square(tmp_path: Path) -> None:
    images, _, reader = read(write_video(tmp_path / "wide.mp4", 2, aspect=Fraction(4, 3)))
    assert images[0].shape == (120, 213, 3)
    assert "1.33 times as wide" in reader.notes[0]


def test_hdr_is_told(tmp_path: Path) -> None:
    _, _, reader = read(write_video(tmp_path / "hdr.mkv", 2, matrix=9, transfer=18))
    assert reader.notes == ("It is HDR (HLG), which was read without tone mapping.",)


def test_frames_that_last_unequally_long(tmp_path: Path) -> None:
    at = [0, 40, 400, 440, 2000, 2040]
    images, times, reader = read(write_video(tmp_path / "vfr.mp4", times_ms=at))
    assert np.allclose(times, np.array(at) / 1000, atol=2e-3)
    assert [number_of(image) for image in images] == [1, 2, 3, 4, 5, 6] and reader.fault is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_a_video_that_is_cut_short_what_is_there_is_read(tmp_path: Path, name: str) -> None:
    whole = write_video(tmp_path / name, 40, options={"g": "5", "qp": "20"}, size=(480, 120))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    images, _, reader = read(whole)
    assert 3 < len(images) < 37
    assert [number_of(image) for image in images] == list(range(1, len(images) + 1))
    assert f"{len(images)} of about 40 frames could be read" in reader.fault


def test_of_a_video_with_a_scratch_the_rest_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 40, options={"g": "5", "qp": "20"}, size=(480, 120))
    data = bytearray(path.read_bytes())
    middle = (data.find(b"mdat") + len(data)) // 2
    data[middle : middle + 400] = b"Z" * 400
    path.write_bytes(data)
    images, _, reader = read(path)
    assert 20 < len(images) < 40 and number_of(images[-1]) == 40
    assert "cannot be decoded" in reader.fault


def test_what_is_no_video_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    write_video(tmp_path / "head.mp4", container={"movflags": "disable_chpl"})
    (tmp_path / "head.mp4").write_bytes((tmp_path / "head.mp4").read_bytes()[:500])
    (tmp_path / "empty.mp4").touch()
    write_sound(tmp_path / "sound.mp4")
    for name, text in (
        ("noise.mp4", "truncated, damaged or no video"),
        ("head.mp4", "truncated, damaged or no video"),
        ("empty.mp4", "empty"),
        ("sound.mp4", "only sound"),
        ("nowhere.mp4", "does not exist"),
    ):
        with pytest.raises(FileError, match=text) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and str(caught.value).endswith(".")
    small = write_video(tmp_path / "small.mp4", 1)
    with pytest.raises(FileError, match="more than the limit"), open_video(small, max_pixels=99):
        pass


def test_names_in_another_encoding_do_not_matter(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2)
    data = path.read_bytes()
    encoder = data.index(b"Lavf")
    path.write_bytes(data[:encoder] + b"caf\xe9" + data[encoder + 4 :])
    assert [number_of(image) for image in read(path)[0]] == [1, 2]


def test_pictures_of_an_unknown_codec_are_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))
    with pytest.raises(FileError, match=r"a\.mp4 is coded in a way .*convert it to H\.264"):
        read(path)


def test_the_limit_is_on_the_square_pixels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 1, aspect=Fraction(50, 1))
    with pytest.raises(FileError, match="8000 x 120 pixels, more than"), open_video(path, max_pixels=900_000):
        pass
    with open_video(path, max_pixels=8000 * 120) as video:
        assert [one.image().shape for one in video] == [(120, 8000, 3)]


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r"a\.mp4 is a video, which needs the extra video; run: pip install"):
        read(path)


@pytest.mark.parametrize("codec", [0, 1])
def test_a_video_comes_back_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: int) -> None:
    monkeypatch.setattr("pro_engine.io.video._CODECS", _CODECS[codec:])  # an FFmpeg without x264
    times = [0, 0.04, 0.5, 0.52]
    with VideoWriter(tmp_path / "new" / "out.mp4") as writer:
        for number, time_s in enumerate(times, 1):
            writer.write(frame(number, 161, 121), time_s)
        writer.write(frame(5, 80, 60), 0.6)  # resized
    images, found, reader = read(tmp_path / "new" / "out.mp4")
    assert np.allclose(found, [*times, 0.6], atol=1e-3) and reader.expected == 5
    assert images[0].shape == (120, 160, 3)
    assert all(off(image, frame(number, 161, 121)[:120, :160]) <= 12 for number, image in enumerate(images[:4], 1))


def test_a_video_is_there_when_it_is_whole_or_not_at_all(tmp_path: Path) -> None:
    def stopped() -> Iterator[None]:
        with VideoWriter(tmp_path / "out.mp4") as writer:
            writer.write(frame(1), 0)
            yield

    frames = stopped()
    next(frames)
    with pytest.raises(KeyboardInterrupt):
        frames.throw(KeyboardInterrupt)
    with VideoWriter(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileError, match=r"\.mp4"):
        VideoWriter(tmp_path / "out.avi")
    with pytest.raises(InputError), VideoWriter(tmp_path / "out.mp4") as writer:
        writer.write(frame(1)[..., 0], 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_videos_are_read_and_written_without_threads_of_ffmpeg(tmp_path: Path) -> None:
    """They wait for each other for ever now and then, see `io/video.py`."""
    video = write_video(tmp_path / "in.mp4")
    code = (
        "import os, sys\nfrom pro_engine.io.video import VideoWriter, open_video\n"
        "with open_video(sys.argv[1]) as frames, VideoWriter(sys.argv[2]) as writer:\n"
        "    for one in frames:\n        print(len(os.listdir('/proc/self/task')))\n"
        "        writer.write(one.image(), one.time_s)\n    print(len(os.listdir('/proc/self/task')))\n"
    )
    command = [sys.executable, "-c", code, str(video), str(tmp_path / "out.mp4")]
    counts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(counts) == 7 and len(set(counts)) == 1

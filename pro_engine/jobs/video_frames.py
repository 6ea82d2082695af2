"""Single frames of videos, asked for one after another: the file stays open and is read on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from pro_engine.errors import FileError, InputError
from pro_engine.io.video import VideoFrame, open_video
from pro_engine.jobs.photos import FramePhoto, Video


class VideoFrames:
    """One video at a time; frames in their order cost no more than reading it once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._open = ExitStack()
        self._number = 0

    def photo(self, path: Path, number: object) -> FramePhoto:
        """A frame by its number, from 1.

        Raises:
            InputError: not a whole number above 0.
            FileError: the file is no video that can be read, or has fewer frames.
            DependencyError: PyAV is not installed.
        """
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise InputError(f"frame is {number!r}; give a whole number from 1.")
        if path != self._path or number <= self._number:
            self.close()
            self._frames = iter(self._open.enter_context(open_video(path)))
            self._path = path
        for frame in self._frames:
            self._number = frame.number
            if frame.number == number:
                name = Video(path, path.stem).frame_name(number, None)
                return FramePhoto(path, name, number, frame.time_s, picture=frame.image)
        last = self._number
        self.close()
        raise FileError(f"{path} has no frame {number}: {last} could be read; give a number up to that.")

    def close(self) -> None:
        """Close the file."""
        self._open.close()
        self._path, self._number = None, 0

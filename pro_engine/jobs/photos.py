"""Which photos and videos a job means, and what to call their results."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pro_engine.errors import FileError
from pro_engine.io.image import IMAGE_SUFFIXES, RAW_SUFFIXES, is_video, read_photo
from pro_engine.io.video import VIDEO_SUFFIXES
from pro_engine.types import DepthResult, ImageArray, LoadedPhoto

_OWN_OUTPUT = re.compile(
    r"\.(disparity|depth|preview|picture|mesh|mesh\w*_(texture|front|behind)|cloud|normals|mask|alpha|kept|view)\.\w+$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Photo:
    """A picture to infer: its file, and the name that its results begin with, different for every photo of a job.

    Attributes:
        number, time_s: of a frame of a video, its place in it, from 1, and its time in seconds; else None.
    """

    path: Path
    name: str
    number: int | None = None
    time_s: float | None = None

    def load(self, layer: str | None) -> LoadedPhoto:
        """The picture and what its file says of it, as `read_photo`."""
        return read_photo(self.path, layer=layer)

    def show(self, image: ImageArray, result: DepthResult) -> None:
        """Called with the picture that the model saw and the result; a photo has its preview in a file of its own."""


@dataclass(frozen=True)
class FramePhoto(Photo):
    """A frame of a video, whose file is `path`: what gives its pixels, and what takes its preview."""

    picture: Callable[[], ImageArray] = field(kw_only=True)
    preview: Callable[[ImageArray, DepthResult], None] | None = None

    def load(self, layer: str | None) -> LoadedPhoto:
        """The picture; nothing more is known of a frame."""
        return LoadedPhoto(self.picture())

    def show(self, image: ImageArray, result: DepthResult) -> None:
        """Add the frame to the preview of the video."""
        if self.preview is not None:
            self.preview(image, result)


@dataclass(frozen=True)
class Video:
    """A video to infer, and the name that the results of its frames begin with: `NAME.0001`."""

    path: Path
    name: str

    def frame_name(self, number: int, expected: int | None) -> str:
        """The name of a frame, from 1: of four digits, or as many as the number of frames that are expected has."""
        return f"{self.name}.{number:0{max(4, len(str(expected or 0)))}d}"


@dataclass(frozen=True)
class Failure:
    """An input that gave no result, and the sentence that says why."""

    input: str
    error: str


def find_photos(arguments: Sequence[str]) -> tuple[list[Photo | Video], list[Failure]]:
    """The photos and videos that files, folders and glob patterns name, each path once, in the order given.

    A folder stands for the pictures and videos directly in it, but for results of earlier jobs and for camera raw files
    whose picture lies beside them. Numbers in names count as such: frame2 goes before frame10.
    A file that is named outright is always taken: whether it can be read shows when it is.

    Returns:
        The photos and videos, and a failure for every folder or pattern without any.
    """
    paths: dict[Path, Path] = {}
    failures: list[Failure] = []
    for argument in arguments:
        try:
            found = _expand(argument)
        except FileError as error:
            failures.append(Failure(argument, str(error)))
            continue
        for path in found:
            paths.setdefault(Path(os.path.abspath(path)), path)
    return _named(list(paths.values())), failures


def _named(paths: Sequence[Path]) -> list[Photo | Video]:
    """Photos and videos by their files. A video and a photo may share a name, but no frame has the name of a photo."""
    moves = {path: path.suffix.lower() in VIDEO_SUFFIXES or is_video(path) for path in paths}
    videos, photos = ([path for path in paths if moves[path] is wanted] for wanted in (True, False))
    folders = dict(zip(paths, _folders(paths), strict=True))
    names = dict(zip(photos, _unique_names(photos, folders), strict=True))
    taken = {name_key(re.sub(r"\.[0-9]{4,}$", "", name)) for name in names.values() if re.search(r"\.[0-9]{4,}$", name)}
    for path, name in zip(videos, _unique_names(videos, folders), strict=True):
        names[path] = f"{name}_{path.suffix[1:].lower()}" if name_key(name) in taken else name
    return [Video(path, names[path]) if moves[path] else Photo(path, names[path]) for path in paths]


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for every file: its stem, behind its folder where the files lie in several: `FOLDER/STEM`.

    Folders count from the one that holds them all, so that results mirror the tree of the photos. Where stems clash
    within a folder the suffix is added, `STEM_jpg`, and `_2` and so on where that clashes too. Names also differ on
    file systems that ignore case or the encoding of accents.
    """
    return _unique_names(paths, dict(zip(paths, _folders(paths), strict=True)))


def _unique_names(paths: Sequence[Path], folders: Mapping[Path, Path]) -> list[str]:
    wholes = [(folders[path] / path.stem).as_posix() for path in paths]
    shared = Counter(map(name_key, wholes))
    names: list[str] = []
    taken = {key for key, count in shared.items() if count == 1}
    for whole, path in zip(wholes, paths, strict=True):
        if shared[name_key(whole)] == 1:
            names.append(whole)
            continue
        base = name = f"{whole}_{path.suffix[1:].lower()}"
        count = 1
        while name_key(name) in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name_key(name))
        names.append(name)
    return names


def _folders(paths: Sequence[Path]) -> list[Path]:
    """The folder of each file as seen from the one that holds them all; an empty path for all on several drives.

    Files that are not there do not count, and have an empty path if they lie elsewhere.
    """
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    there = [folder for folder, path in zip(folders, paths, strict=True) if os.path.exists(path)]
    try:
        base = Path(os.path.commonpath(there or folders)) if folders else Path()
    except ValueError:
        return [Path()] * len(folders)
    return [Path(folder).relative_to(base) if Path(folder).is_relative_to(base) else Path() for folder in folders]


def name_key(name: str) -> str:
    """The same for names that a file system may take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _expand(argument: str) -> list[Path]:
    path = Path(argument).expanduser()
    if path.is_dir():
        found = _pictures(path.iterdir())
        if not found:
            known = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
            raise FileError(f"{argument} holds no picture; known suffixes are {known}.")
        return found
    if path.exists() or not glob.has_magic(argument):
        return [path]
    found = _pictures(Path(match) for match in glob.glob(str(path), recursive=True))
    if not found:
        raise FileError(f"No picture matches {argument!r}; check the pattern and the folder.")
    return found


def _natural(path: Path) -> list[str | int]:
    """A key for sorting by which numbers in a path count as such."""
    parts = re.split(r"([0-9]+)", path.as_posix())
    return [int(part) if at % 2 else part for at, part in enumerate(parts)]


def _pictures(paths: Iterable[Path]) -> list[Path]:
    """The pictures and videos among the files; a camera raw file only where its picture does not lie beside it."""
    found = [
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES | RAW_SUFFIXES | VIDEO_SUFFIXES
        and not path.name.startswith(".")
        and not _OWN_OUTPUT.search(path.name)
        and path.is_file()
    ]
    found.sort(key=_natural)
    developed = {path.with_suffix("") for path in found if path.suffix.lower() in IMAGE_SUFFIXES}
    return [path for path in found if path.suffix.lower() not in RAW_SUFFIXES or path.with_suffix("") not in developed]

"""What the results of a photo were made of: a record beside them, by which `existing="skip"` knows what still holds.

NAME.made.json is written last, once all files of the photo are in place: the photo, the model and the options, and each
file by its size, time and checksum.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pro_engine.errors import FileError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import readable_file, reading_failed
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.photos import Photo, Video, name_key
from pro_engine.jobs.points import file_of_photo, reconstruction_files, sensor_file
from pro_engine.options import InferenceOptions, options_of

if TYPE_CHECKING:
    from pro_engine.inference.predictor import DepthPredictor

SUFFIX = ".made.json"
_KEY = "pro_engine_made"
_VERSION = 1
_CHUNK = 1 << 20

_SHAPES = frozenset({"kept", "mesh", "cloud", "view"})
_METRIC = _SHAPES | {"depth", "normals"}
_INFERRED = _METRIC | {"disparity", "preview", "mask", "alpha"}
_NO_MATTER = {
    *("maps", "normal_maps", "mask", "alpha", "mesh", "cloud", "html", "preview", "picture", "anchors"),
    *("existing", "batch_size", "keep_coarse", "keep_alpha"),
}
"""Options that change which files there are, or how they come about, but none of them."""
_KINDS = {
    **dict.fromkeys(("model", "weights", "dtype", "tiles", "refine", "passes", "sequence", "prompt"), _INFERRED),
    **dict.fromkeys(("keep_background", "keep_sky"), _INFERRED),  # the map has an estimated sky
    **dict.fromkeys(
        (
            *(
                "near_m",
                "far_m",
                "align",
                "scale_from",
                "camera_height_m",
                "pitch_deg",
                "roll_deg",
                "distance",
                "length",
            ),
            *("fov_x_deg", "focal_35mm"),
        ),
        _METRIC,
    ),
    "stride": frozenset({"mesh", "cloud"}),
    **dict.fromkeys(("keep_mask", "drop_mask"), _SHAPES),
    **dict.fromkeys(("surface", "reveal", "extend", "sky"), frozenset({"mesh", "cloud", "view"})),
    "edge_rtol": frozenset({"mesh", "cloud", "normals", "view"}),
    "normal_y": frozenset({"normals"}),
    **dict.fromkeys(("channel", "exr_far_m"), frozenset({"depth"})),
}
"""Kinds of files that an option concerns, where these are not all."""
_FORMATS = dict.fromkeys(("channel", "exr_far_m", "exr_half"), "exr")
"""The one format that an option concerns."""
_DEFAULTS = {field.name: field.default for owner in (InferenceOptions, JobOptions) for field in options_of(owner)}


@dataclass(frozen=True)
class FileMark:
    """A file as it was: size, time and CRC-32 of its bytes."""

    bytes: int
    modified_ns: int
    crc32: int

    @classmethod
    def of(cls, path: Path) -> FileMark:
        """The file now. Raises FileError: it cannot be read."""
        source, checksum = readable_file(path), 0
        try:
            with open(source, "rb") as file:
                status = os.fstat(file.fileno())
                while chunk := file.read(_CHUNK):
                    checksum = zlib.crc32(chunk, checksum)
        except OSError as error:
            raise reading_failed(source, error) from error
        return cls(status.st_size, status.st_mtime_ns, checksum)

    @classmethod
    def of_source(cls, path: Path) -> FileMark:
        """As `of`, but the bytes of a file that gives one picture after the other, a video, are read once."""
        status = readable_file(path).stat()
        return _source_mark(path, status.st_size, status.st_mtime_ns)

    def is_still(self, path: Path, *, is_source: bool = False) -> bool:
        """Whether the file is the same; its bytes are read only where its time is another, as that of a copy may be."""
        read = FileMark.of_source if is_source else FileMark.of
        try:
            status = path.stat()
            if status.st_size != self.bytes:
                return False
            return status.st_mtime_ns == self.modified_ns or read(path).crc32 == self.crc32
        except (OSError, FileError):
            return False


@dataclass(frozen=True)
class _Record:
    """What a file NAME.made.json says.

    source: path of the photo as seen from the folder of the results. camera: the photo's entry in intrinsics.json.
    """

    source: str
    photo: FileMark
    options: dict[str, Any]
    files: dict[str, tuple[str, str, FileMark]]  # name -> kind, format, file
    camera: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _Record | None:
        """The record in a file; None where there is none, or one that this version cannot read."""
        try:
            found = json.loads(path.read_bytes())
            if found[_KEY] != _VERSION:
                return None
            files = {name: (one["kind"], one["format"], _mark(one)) for name, one in found["files"].items()}
            source, camera = str(found["photo"]["path"]), dict(found.get("camera", {}))
            return cls(source, _mark(found["photo"]), dict(found["options"]), files, camera)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, path: Path) -> None:
        """Raises FileError."""
        files = {
            name: {"kind": kind, "format": form, **asdict(mark)} for name, (kind, form, mark) in self.files.items()
        }
        photo = {"path": self.source, **asdict(self.photo)}
        record = {_KEY: _VERSION, "photo": photo, "options": self.options, "files": files, "camera": self.camera}
        text = json.dumps(record, indent=1)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Provenance:
    """What the results of a photo in a folder are to be made of; `options` are plain values of JSON."""

    folder: Path
    photo: Photo
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls, folder: Path, photo: Photo, predictor: DepthPredictor, job: JobOptions, inference: InferenceOptions
    ) -> Provenance:
        """That of a job. Raises FileError: the sensor depth of the photo cannot be found or read."""
        options: dict[str, Any] = {"model": predictor.full_name, "weights": predictor.mark}
        options["dtype"] = predictor.dtype_name
        options |= {name: value for name, value in {**vars(inference), **vars(job)}.items() if name not in _NO_MATTER}
        if job.align is not None:
            known = reconstruction_files(job.align) or [sensor_file(job.align, photo.name)]
            marks = [FileMark.of(file) for file in known]
            crc32 = marks[0].crc32 if len(marks) == 1 else zlib.crc32(repr([mark.crc32 for mark in marks]).encode())
            options["align"] = {"bytes": sum(mark.bytes for mark in marks), "crc32": crc32}
        if predictor.spec.takes_prompt:  # no map is the same without it
            options["prompt"] = options["align"]
        for name in ("keep_mask", "drop_mask"):
            if (path := getattr(job, name)) is not None:
                mask = FileMark.of(file_of_photo(path, photo.name, "masks", "mask"))
                options[name] = {"bytes": mask.bytes, "crc32": mask.crc32}
        return cls(folder, photo, json.loads(json.dumps(options)))

    def objection(self, outputs: Sequence[Output]) -> str | None:
        """Why the photo has to be done, as a sentence about its results; "" where there are none, None if all hold."""
        there = [path for out in outputs for path in out.files if path.exists()]
        if not there:
            return ""
        record = _Record.read(self._path)
        if record is None:
            return "nothing tells what its results were made of; an older version or another program wrote them"
        if not record.photo.is_still(self.photo.path, is_source=True):
            is_other = record.source != self._source
            return f"its results were made of another photo, {record.source}" if is_other else "the photo has changed"
        for out, path in ((one, path) for one in outputs for path in one.files):
            _, _, mark = record.files.get(path.name, ("", "", None))
            if mark is None and path in out.maybe:
                continue
            if mark is None or not path.exists():
                return f"{path.name} is missing"
            if reason := self._different(record.options, out.kind, out.format):
                return reason
            if not mark.is_still(path):
                return f"{path.name} is damaged or was changed"
        return None

    def write(self, outputs: Iterable[Output], photo: FileMark, camera: Mapping[str, Any]) -> None:
        """Write the record of files that are in place. Others of the same photo, made likewise, stay in it.

        Args:
            photo: the file that they were made of. camera: as `camera_of` gives it.

        Raises:
            FileError: a file cannot be read, or the record not be written.
        """
        there = [(out, path) for out in outputs for path in out.files if path not in out.maybe or path.exists()]
        files = {path.name: (out.kind, out.format, FileMark.of(path)) for out, path in there}
        before = _Record.read(self._path)
        if before is not None and (before.photo.bytes, before.photo.crc32) == (photo.bytes, photo.crc32):
            for name, (kind, form, mark) in before.files.items():
                if not self._different(before.options, kind, form):
                    files.setdefault(name, (kind, form, mark))
                    if (kind, form) == ("depth", "png16"):
                        camera = {**before.camera, **camera}  # what its numbers stand for
        _Record(self._source, photo, dict(self.options), files, dict(camera)).write(self._path)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.photo.name}{SUFFIX}"

    @property
    def _source(self) -> str:
        return _seen_from(self.folder, self.photo.path)

    def _different(self, before: Mapping[str, Any], kind: str, form: str) -> str:
        """How options of files of a kind and format differ from these, in words; "" where they do not."""
        changed = [
            (name, before.get(name, _DEFAULTS.get(name)), value)
            for name, value in self.options.items()
            if kind in _KINDS.get(name, (kind,)) and form in _FORMATS.get(name, (form,))
        ]
        told = [_told(name, old, new) for name, old, new in changed if old != new]
        return f"its results were made with {', '.join(told)}" if told else ""


def with_kept_names(photos: Sequence[Photo | Video], folder: Path) -> list[Photo | Video]:
    """The photos by the names that results of theirs in the folder have already, though others would call for new ones.

    So a photo that comes later, of the same name or from another folder, does not make those before it be done again.
    """
    earlier: dict[str, list[str]] = {}
    for name, record in _records(folder, photos):
        earlier.setdefault(record.source, []).append(name)
    taken = {name_key(photo.name) for photo in photos}
    kept: list[Photo | Video] = []
    for photo in photos:
        names = earlier.get(_seen_from(folder, photo.path), []) if isinstance(photo, Photo) else []
        name = next((name for name in names if name_key(name) not in taken), photo.name)
        kept.append(photo if photo.name in names else replace(photo, name=name))
        taken.add(name_key(name))
    return kept


def cameras(folder: Path, photos: Sequence[Photo | Video]) -> dict[str, dict[str, Any]]:
    """The cameras of all photos that have results beside those of these photos, whichever job made them, by name."""
    return {name: record.camera for name, record in _records(folder, photos) if record.camera}


def _records(folder: Path, photos: Sequence[Photo | Video]) -> Iterator[tuple[str, _Record]]:
    for place in sorted({(folder / photo.name).parent for photo in photos} | {folder}):
        for path in sorted(place.glob(f"*{SUFFIX}")):
            if (record := _Record.read(path)) is not None:
                yield path.relative_to(folder).as_posix().removesuffix(SUFFIX), record


@lru_cache(maxsize=8)
def _source_mark(path: Path, _bytes: int, _modified_ns: int) -> FileMark:
    return FileMark.of(path)


def _seen_from(folder: Path, path: Path) -> str:
    """The path from the folder, so that both may be moved together; the whole path where they lie on two drives."""
    whole = os.path.abspath(path)
    try:
        return Path(os.path.relpath(whole, os.path.abspath(folder))).as_posix()
    except ValueError:
        return Path(whole).as_posix()


def _mark(found: Mapping[str, Any]) -> FileMark:
    return FileMark(int(found["bytes"]), int(found["modified_ns"]), int(found["crc32"]))


def _told(name: str, old: object, new: object) -> str:
    """An option that differs, in words."""
    if name == "weights":
        return "other weights"
    if name in ("align", "prompt"):
        return "other sensor depth"
    if name.endswith("_mask"):
        return "another mask"
    words = name.removesuffix("_m").removesuffix("_x_deg").replace("_", " ")
    shown, now = ("none" if value is None else str(value) for value in (old, new))
    return f"{words} {shown}, not {now}"

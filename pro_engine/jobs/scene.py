"""A whole reconstruction: every picture of it inferred once and aligned to its points. `scene_results` does the rest.

The folder of the results is a dense workspace of COLMAP: `images` without distortion, `sparse`, `stereo`. The aligned
maps are in `maps`; a job that is begun again keeps those that were made of the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pro_engine.errors import CancelledError, FileError, ProEngineError
from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.geometry.sparse import SparseFit
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.image import read_photo, save_image
from pro_engine.io.reconstruction import Reconstruction, View, load_reconstruction
from pro_engine.jobs.made import FileMark
from pro_engine.jobs.options import SceneOptions
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.points import fit_to_view, reconstruction_files
from pro_engine.jobs.scene_matching import has_other_shape, match_view
from pro_engine.jobs.straight import straightened
from pro_engine.options import InferenceOptions
from pro_engine.types import FloatMap, ImageArray

WRITTEN_PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ViewReport:
    """What was done with one view: its photo, its name in the reconstruction, points, inliers, the median relative
    error at points that were held out, whether a smooth correction was worth it, how far neighbouring points share that
    error and of how many pairs that is (see `SparseFit`), points that were measured by matching its picture with
    others, and seconds."""

    input: str
    name: str
    points: int
    inliers: int
    error: float
    corrected: bool
    shared: float = 0.0
    pairs: int = 0
    matched: int = 0
    seconds: float = 0.0
    skipped: bool = False

    def to_json(self) -> dict[str, Any]:
        """The report in plain values."""
        return asdict(self)


@dataclass(frozen=True)
class SceneJob:
    """What is to be done with each picture of a reconstruction. Plain values, which can be sent to another process."""

    model: Path
    folder: Path
    options: SceneOptions
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def absolute(self) -> SceneJob:
        """The same job for a process with another working folder."""
        options = SceneOptions(**{**vars(self.options), "images": self.options.images.absolute()})
        return SceneJob(self.model.absolute(), self.folder.absolute(), options, self.inference)

    def photos(self) -> tuple[list[Photo], list[Failure]]:
        """The picture of every view, and a failure for each view without one."""
        found, failures = [], []
        source = load_reconstruction(self.model)
        for view in source.views:
            path = self._photo_of(view.name, source)
            if path is None:
                failures.append(Failure(view.name, f"There is no picture {view.name} in {self.options.images}."))
            else:
                found.append(Photo(path, view.name))
        return found, failures

    def _photo_of(self, view: str, source: Reconstruction) -> Path | None:
        name = PurePosixPath(view)
        places = [self.options.images / name, source.folder / name, self.options.images / name.name]
        return next((place for place in places if place.is_file()), None)

    def map_of(self, name: str) -> Path:
        """The file of a view's map."""
        return self.folder / "maps" / f"{safe_name(name)}.npz"

    def picture_of(self, name: str) -> Path:
        """The file of a view's picture without distortion."""
        return self.folder / "images" / picture_name(name)

    def attempt(self, photo: Photo, predictor: DepthPredictor) -> ViewReport | Failure:
        """Infer and align one picture; what goes wrong is a `Failure`. Raises CancelledError."""
        try:
            return self._run(photo, predictor)
        except CancelledError:
            raise
        except ProEngineError as error:
            return Failure(str(photo.path), str(error))
        except MemoryError:
            return Failure(str(photo.path), "Memory ran out; close other programs, or use smaller pictures.")

    def _run(self, photo: Photo, predictor: DepthPredictor) -> ViewReport:
        start = time.perf_counter()
        made = self._made(photo, predictor)
        path = self.map_of(photo.name)
        if path.exists() and self.picture_of(photo.name).exists():
            known = load_depth(path)[1].metadata
            if known.get("made") == made:
                return ViewReport(str(photo.path), photo.name, skipped=True, **known["fit"])
        loaded = read_photo(photo.path)
        height, width = loaded.image.shape[:2]
        view = {view.name: view for view in load_reconstruction(self.model).views}[photo.name]
        if has_other_shape(loaded.image, view):
            raise FileError(f"{photo.path} is {width}x{height}, another shape than its camera; was it turned or cut?")
        image, view = straightened(loaded.image, view.resized(width, height))
        camera = view.lens.pinhole
        result = predictor.infer(image, intrinsics=camera, lens_source="given", options=self.inference)
        known_pixels = result.valid if result.sky is None else result.valid & ~result.sky
        fit, matched = self.align(np.where(known_pixels, result.disparity, np.float32(np.nan)), view, image)
        depth = fit.depth(np.where(result.valid, result.disparity, np.float32(np.nan)), sky=result.sky)
        save_image(self.picture_of(photo.name), image)
        told: dict[str, Any] = {**fit.summary(), "matched": matched}
        about = {"made": made, "fit": told, "camera": asdict(camera), "pose": view.pose.tolist()}
        save_depth(path, depth, metadata=about)
        seconds = time.perf_counter() - start
        return ViewReport(str(photo.path), photo.name, seconds=seconds, **told)

    def align(self, disparity: FloatMap, view: View, image: ImageArray) -> tuple[SparseFit, int]:
        """Fit a map (H, W) to what the reconstruction tells of it.

        Args:
            disparity: NaN where it is not known.
            view: without distortion, of the size of its picture `image` (H, W, 3).

        Returns:
            The fit, and how many points were measured by matching the picture with others.

        Raises:
            InputError: too few points.
        """
        if not self.options.match:
            return fit_to_view(disparity, view), 0
        line = fit_to_view(disparity, view, correct=False).scale_shift
        source = load_reconstruction(self.model)
        more = match_view(
            source, lambda name: self._photo_of(name, source), view, image, disparity_to_depth(disparity, line)
        )
        return fit_to_view(disparity, view, more), len(more.depth)

    def _made(self, photo: Photo, predictor: DepthPredictor) -> dict[str, Any]:
        """What a map is made of, in plain values."""
        marks = [FileMark.of(path).crc32 for path in reconstruction_files(self.model)]
        made = {"photo": FileMark.of(photo.path).crc32, "model": predictor.full_name, "weights": predictor.mark}
        made |= {
            "reconstruction": marks,
            "match": self.options.match,
            "dtype": str(predictor.dtype),
            "inference": asdict(self.inference),
        }
        plain: dict[str, Any] = json.loads(json.dumps(made))
        return plain


def safe_name(name: str) -> str:
    """A view's name as a path below a folder."""
    return PurePosixPath(*[part for part in PurePosixPath(name).parts if part not in ("..", "/", ".")]).as_posix()


def picture_name(name: str) -> str:
    """The name of a view's picture: another suffix where no picture of that kind is written."""
    path = PurePosixPath(safe_name(name))
    return path.as_posix() if path.suffix.lower() in WRITTEN_PICTURES else path.with_suffix(".png").as_posix()


def infer_views(
    photos: Iterable[Photo], job: SceneJob, predictor: DepthPredictor
) -> Iterator[tuple[Photo, ViewReport | Failure]]:
    """`SceneJob.attempt` for one picture after the other."""
    for photo in photos:
        yield photo, job.attempt(photo, predictor)

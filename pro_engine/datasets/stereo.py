"""Real stereo pairs with true disparity: Middlebury 2014, the two-view part of ETH3D, and Booster.

Only the left view is read. Its disparity in pixels becomes 1 / depth in 1 / metres by the calibration:
1 / depth = (disparity + doffs) / (baseline * focal length), see https://vision.middlebury.edu/stereo/data/scenes2014/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets.files import (
    Checklist,
    Form,
    check_same_size,
    damaged,
    pinhole,
    read_map,
    read_mask,
    read_picture,
    read_text,
    require,
)
from pro_engine.datasets.sample import EvalSample, ListedDataset
from pro_engine.io.paths import decoding
from pro_engine.types import BoolMap, FloatMap

MIDDLEBURY = Form(
    "middlebury2014",
    "SCENE/im0.png, SCENE/disp0.pfm and SCENE/calib.txt",
    "https://vision.middlebury.edu/stereo/data/scenes2014/",
)
BOOSTER = Form(
    "booster",
    "train/balanced/SCENE/camera_00/im*.png with disp_00.npy, mask_00.png, mask_cat.png and calib_00-02.xml beside "
    "camera_00",
    "https://cvlab-unibo.github.io/booster-web/",
)
TRANSPARENT_CLASSES = (2, 3)
"""Of mask_cat.png in Booster: what its authors evaluate as transparent or mirror (ToM); 0 and 1 are the rest."""


@dataclass(frozen=True)
class StereoView:
    """The left view of a pair on disk; a mask or the materials are None where the dataset has none."""

    name: str
    group: str
    picture: Path
    disparity: Path
    calibration: Path
    mask: Path | None = None
    materials: Path | None = None
    exact_edges: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        every = (self.picture, self.disparity, self.calibration, self.mask, self.materials)
        return tuple(path for path in every if path is not None)


@dataclass(frozen=True)
class Calibration:
    """Camera matrix (3, 3) in pixels, baseline in metres, and doffs: how far right of cx0 the right camera has cx1."""

    matrix: NDArray[np.float64]
    baseline_m: float
    doffs_px: float


def read_calib_txt(path: Path) -> Calibration:
    """calib.txt of Middlebury 2014 and ETH3D: lines KEY=VALUE with cam0=[f 0 cx; 0 f cy; 0 0 1], baseline in mm.

    Raises:
        FileError: missing, or not such a file.
    """
    values = dict(line.partition("=")[::2] for line in read_text(path).splitlines() if "=" in line)
    absent = [key for key in ("cam0", "doffs", "baseline") if key not in values]
    if absent:
        raise damaged(path, f"no line for {', '.join(absent)}")
    try:
        rows = [row.split() for row in values["cam0"].strip().strip("[]").split(";")]
        matrix = np.array(rows, dtype=np.float64).reshape(3, 3)
        found = Calibration(matrix, float(values["baseline"]) / 1000, float(values["doffs"]))
    except ValueError as error:
        raise damaged(path, f"cam0, doffs or baseline is no number ({error})") from error
    return _checked(path, found)


def read_calib_xml(path: Path) -> Calibration:
    """calib_00-02.xml of Booster, an OpenCV file storage: proj_matL of the rectified left camera, baselineLR in mm.

    Raises:
        FileError: missing, or not such a file.
    """
    require(path)
    with decoding(path, "OpenCV file storage"):
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        try:
            projection = storage.getNode("proj_matL").mat()
            baseline = storage.getNode("baselineLR")
            if projection is None or projection.shape != (3, 4) or baseline.empty():
                raise damaged(path, "no proj_matL of 3 x 4 values, or no baselineLR")
            found = Calibration(projection[:, :3].astype(np.float64), baseline.real() / 1000, 0.0)
        finally:
            storage.release()
    return _checked(path, found)


def _checked(path: Path, found: Calibration) -> Calibration:
    if not found.baseline_m * found.matrix[0, 0] > 0:
        raise damaged(path, "a baseline or focal length that is not above 0")
    return found


def inverse_depth(pixels: FloatMap, valid: BoolMap, calibration: Calibration) -> tuple[FloatMap, BoolMap]:
    """1 / depth in 1 / metres, (H, W) float32, 0 where unknown; and where it is known.

    Args:
        pixels: (H, W) disparity in pixels. It is unknown where it is infinite, NaN or behind the cameras, as the 0 that
            Booster writes is.
        valid: (H, W) bool, where it counts.
        calibration: of the pair.
    """
    shifted = pixels.astype(np.float64) + calibration.doffs_px
    known = valid & np.isfinite(shifted) & (shifted > 0)
    scale = calibration.baseline_m * float(calibration.matrix[0, 0])
    return np.where(known, shifted / scale, 0).astype(np.float32), known


def recognise_middlebury(root: Path) -> bool:
    """Whether the folder, or one in it, has a disp0.pfm."""
    return any(any(root.glob(pattern)) for pattern in ("disp0.pfm", "*/disp0.pfm"))


def open_middlebury(root: Path) -> ListedDataset[StereoView]:
    """Every scene of the folder, or the folder as one scene. The group is what follows the last - in its name
    ("perfect" or "imperfect", which tells of the rectification), else "middlebury2014".

    Raises:
        DatasetError: every file that is missing or cut short.
    """
    check = Checklist(root, MIDDLEBURY)
    names = ("im0.png", "disp0.pfm", "calib.txt")
    views = []
    for folder in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        picture, disparity, calibration = (folder / name for name in names)
        if picture.exists() or disparity.exists() or calibration.exists():
            suffix = folder.name.rpartition("-")[2]
            group = suffix if suffix in ("perfect", "imperfect") else MIDDLEBURY.kind
            view = StereoView(folder.name, group, picture, disparity, calibration, exact_edges=True)
            check.need_all(view.files)
            views.append(view)
    check.done(len(views))
    return ListedDataset(MIDDLEBURY.kind, tuple(views), read_txt_sample)


def read_txt_sample(view: StereoView) -> EvalSample:
    """A view calibrated by calib.txt. Where it has a mask, 0 in it means that the disparity is unknown."""
    return _sample(view, read_calib_txt(view.calibration))


def _booster_scenes(root: Path) -> Path | None:
    """The folder of scenes: `balanced`, wherever the given folder stands above it."""
    for folder in (root, root / "balanced", root / "train" / "balanced"):
        if any(folder.glob("*/camera_00")):
            return folder
    return None


def recognise_booster(root: Path) -> bool:
    """Whether there is a SCENE/camera_00."""
    return _booster_scenes(root) is not None


def open_booster(root: Path) -> ListedDataset[StereoView]:
    """Every picture of the left camera of the training scenes, one sample per illumination; the group is the scene.

    Raises:
        DatasetError: every file that is missing or cut short.
    """
    check = Checklist(root, BOOSTER)
    scenes = _booster_scenes(root)
    views = []
    for folder in sorted(path for path in scenes.iterdir() if path.is_dir()) if scenes is not None else ():
        names = ("disp_00.npy", "calib_00-02.xml", "mask_00.png", "mask_cat.png")
        disparity, calibration, mask, materials = (folder / name for name in names)
        check.need_all((disparity, calibration, mask, materials))
        pictures = sorted((folder / "camera_00").glob("*.png"))
        if not pictures:
            check.need(folder / "camera_00" / "im0.png")
        for picture in pictures:
            check.need(picture)
            name = f"{folder.name}/{picture.stem}"
            views.append(StereoView(name, folder.name, picture, disparity, calibration, mask, materials))
    check.done(len(views))
    return ListedDataset(BOOSTER.kind, tuple(views), _booster_sample)


def _booster_sample(view: StereoView) -> EvalSample:
    return _sample(view, read_calib_xml(view.calibration))


def _sample(view: StereoView, calibration: Calibration) -> EvalSample:
    image = read_picture(view.picture)
    pixels = read_map(view.disparity)
    check_same_size(view.disparity, pixels, image)
    valid = np.ones(pixels.shape, dtype=bool)
    if view.mask is not None:
        mask = read_mask(view.mask)
        check_same_size(view.mask, mask, image)
        valid &= mask != 0
    transparent = None
    if view.materials is not None:
        materials = read_mask(view.materials)
        check_same_size(view.materials, materials, image)
        transparent = np.isin(materials, TRANSPARENT_CLASSES)
    disparity, valid = inverse_depth(pixels, valid, calibration)
    return EvalSample(
        view.name,
        view.group,
        image,
        disparity,
        valid,
        exact_edges=view.exact_edges,
        transparent=transparent,
        intrinsics=pinhole(view.calibration, calibration.matrix, image),
    )

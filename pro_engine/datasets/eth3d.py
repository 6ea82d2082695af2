"""ETH3D (Schöps et al., CVPR 2017): laser-scanned scenes, as high-resolution photos or as small grey stereo pairs.

The forms are those of https://www.eth3d.net/documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pro_engine.datasets.files import ANY_SIZE, Checklist, Form, inverse, picture_size, read_picture, read_raw
from pro_engine.datasets.sample import EvalSample, ListedDataset
from pro_engine.datasets.stereo import StereoView, read_txt_sample

FORM = Form(
    "eth3d",
    "SCENE/images/dslr_images/NAME.JPG with SCENE/ground_truth_depth/dslr_images/NAME.JPG (high resolution), or "
    "two_view_training/SCENE/im0.png and calib.txt with two_view_training_gt/SCENE/disp0GT.pfm and mask0nocc.png",
    "https://www.eth3d.net/documentation",
)
_DEPTH_FOLDER = Path("ground_truth_depth") / "dslr_images"
_PICTURE_FOLDER = Path("images") / "dslr_images"


@dataclass(frozen=True)
class PhotoView:
    """A photo and its depth: bare little-endian float32 metres row by row under the name of the photo."""

    name: str
    group: str
    picture: Path
    depth: Path


def recognise(root: Path) -> bool:
    """Whether there are photos with depth files, or pairs with a disp0GT.pfm."""
    patterns = ("ground_truth_depth", "*/ground_truth_depth", "two_view_training*", "disp0GT.pfm", "*/disp0GT.pfm")
    return any(any(root.glob(pattern)) for pattern in patterns)


def open_eth3d(root: Path) -> ListedDataset[PhotoView | StereoView]:
    """The photos with depth of every scene, or of the folder as one scene; then the left views of the pairs.

    The group is the scene of a photo, and "two_view" for all pairs.

    Raises:
        DatasetError: every file that is missing or of the wrong size.
    """
    check = Checklist(root, FORM)
    items: list[PhotoView | StereoView] = []
    for scene in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        items += _photos(scene, check)
    items += _pairs(root, check)
    check.done(len(items))
    return ListedDataset(FORM.kind, tuple(items), _sample)


def _photos(scene: Path, check: Checklist) -> list[PhotoView]:
    """The photos of a scene that has depth: scenes of the test set have none, and are passed over."""
    if not (scene / _DEPTH_FOLDER).is_dir():
        return []
    folders = scene / _PICTURE_FOLDER, scene / _DEPTH_FOLDER
    names = {path.name for folder in folders for path in folder.glob("*.[jJ][pP][gG]")}
    views = []
    for name in sorted(names):
        view = PhotoView(f"{scene.name}/{Path(name).stem}", scene.name, folders[0] / name, folders[1] / name)
        size = picture_size(view.picture) if check.need(view.picture) else None
        check.need(view.depth, ANY_SIZE if size is None else 4 * size[0] * size[1])
        views.append(view)
    return views


def _pairs(root: Path, check: Checklist) -> list[StereoView]:
    """The pairs below the folder; the truth lies in a folder of its own, or beside the pictures."""
    both = root / "two_view_training", root / "two_view_training_gt"
    pictures, truth = both if both[0].is_dir() or both[1].is_dir() else (root, root)
    names = {path.parent.name for path in [*pictures.glob("*/im0.png"), *truth.glob("*/disp0GT.pfm")]}
    views = []
    for name in sorted(names):
        view = StereoView(
            name,
            "two_view",
            pictures / name / "im0.png",
            truth / name / "disp0GT.pfm",
            pictures / name / "calib.txt",
            truth / name / "mask0nocc.png",
        )
        check.need_all(view.files)
        views.append(view)
    return views


def _sample(view: PhotoView | StereoView) -> EvalSample:
    if isinstance(view, StereoView):
        return read_txt_sample(view)
    image = read_picture(view.picture)
    depth = read_raw(view.depth, image.shape[:2], "<f4")
    valid = np.isfinite(depth) & (depth > 0)
    # No intrinsics: the lens of these photos bends lines (THIN_PRISM_FISHEYE).
    return EvalSample(view.name, view.group, image, inverse(depth, valid), valid)

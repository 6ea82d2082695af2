"""UnrealStereo4K (Tosi et al., SMD-Nets, CVPR 2021): rendered stereo pairs of 3840 x 2160 with exact disparity.

The form is that of https://github.com/fabiotosi92/SMD-Nets. Disparity in pixels turns into depth by
depth = baseline * focal length / disparity; both come from the Extrinsics files, as PatchRefiner reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets.files import (
    Checklist,
    Form,
    check_same_size,
    damaged,
    pinhole,
    read_map,
    read_picture,
    read_raw,
    read_text,
)
from pro_engine.datasets.sample import EvalSample, ListedDataset
from pro_engine.types import BoolMap, FloatMap, ImageArray

WIDTH, HEIGHT = 3840, 2160
RAW_BYTES = WIDTH * HEIGHT * 3
SKY_M = 10_000.0
"""Depth from here on is the dome that stands for the sky, and gets the disparity 0."""

FORM = Form(
    "unrealstereo4k",
    "SCENE/Image0/NNNNN.png (or .raw), SCENE/Disp0/NNNNN.npy, SCENE/Extrinsics0/NNNNN.txt and "
    "SCENE/Extrinsics1/NNNNN.txt for the scenes 00000 to 00008",
    "https://github.com/fabiotosi92/SMD-Nets",
)


@dataclass(frozen=True)
class UnrealView:
    """One left view on disk: SCENE/NNNNN."""

    name: str
    picture: Path
    disparity: Path
    own_camera: Path
    other_camera: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return self.picture, self.disparity, self.own_camera, self.other_camera


def list_views(root: Path, *, split: str | None = None) -> list[UnrealView]:
    """The left views of the dataset in name order, for training and evaluation.

    Args:
        root: the folder of the scenes.
        split: only the views in `splits/SPLIT.txt` below the folder, where PatchFusion puts the lists of SMD-Nets
            ("train", "val", "test", "test_out"); each line names four files of a stereo pair. None takes all.

    Raises:
        DatasetError: every file that is missing, cut short or of the wrong size.
    """
    check = Checklist(root, FORM)
    views = []
    for scene, number in _numbers(root, split, check):
        view = _view(root / scene, number)
        check.need(view.picture, RAW_BYTES if view.picture.suffix == ".raw" else None)
        check.need_all(view.files[1:])
        views.append(view)
    check.done(len(views))
    return views


def _numbers(root: Path, split: str | None, check: Checklist) -> list[tuple[str, str]]:
    """(scene, number) of the pairs to read: those of the list, or all of which any file is there."""
    if split is None:
        files = [path for folder in ("Image0", "Disp0", "Extrinsics0") for path in root.glob(f"*/{folder}/[0-9]*.*")]
        return sorted({(path.parent.parent.name, path.stem) for path in files})
    path = root / "splits" / f"{split}.txt"
    if not check.need(path):
        return []
    pairs = set()
    for line in read_text(path).splitlines():
        parts = Path(line.split()[0].lstrip("/")).parts if line.strip() else ()
        if len(parts) == 3:
            pairs.add((parts[0], Path(parts[2]).stem))
        elif parts:
            check.faults.append((path, f"the line {line!r} does not start with SCENE/Image0/NNNNN.png"))
    return sorted(pairs)


def _view(scene: Path, number: str) -> UnrealView:
    picture = scene / "Image0" / f"{number}.png"
    raw = picture.with_suffix(".raw")
    return UnrealView(
        name=f"{scene.name}/{number}",
        picture=raw if raw.exists() and not picture.exists() else picture,
        disparity=scene / "Disp0" / f"{number}.npy",
        own_camera=scene / "Extrinsics0" / f"{number}.txt",
        other_camera=scene / "Extrinsics1" / f"{number}.txt",
    )


def read_view(view: UnrealView) -> tuple[ImageArray, FloatMap, BoolMap, BoolMap]:
    """What `scenes.read_rendered` gives, with one more map: (image, disparity, valid, transparent).

    image (H, W, 3) uint8 RGB; disparity (H, W) float32 in 1 / metres, 0 for the sky and where it is unknown; valid
    (H, W) bool, where it is known; transparent (H, W) bool, False everywhere, as the dataset does not mark glass.

    Raises:
        FileError: one of the files is missing, truncated or damaged.
    """
    image = _read_image(view.picture)
    pixels = read_map(view.disparity)
    check_same_size(view.disparity, pixels, image)
    own, other = _read_camera(view.own_camera), _read_camera(view.other_camera)
    scale = own[0][0, 0] * _baseline_m(own[1], other[1])
    if not scale > 0:
        raise damaged(view.own_camera, f"with {view.other_camera} it gives a baseline times focal length of {scale:g}")
    valid = np.isfinite(pixels) & (pixels > 0)
    near = valid & (pixels > scale / SKY_M)
    disparity = np.where(near, pixels / np.float32(scale), 0).astype(np.float32)
    return image, disparity, valid, np.zeros(valid.shape, dtype=bool)


def _read_image(path: Path) -> ImageArray:
    """A .png, whose alpha channel is meaningless, or a .raw of the authors' conversion: bytes B, G, R row by row."""
    if path.suffix != ".raw":
        return read_picture(path)
    return np.ascontiguousarray(read_raw(path, (HEIGHT, WIDTH, 3), "u1")[..., ::-1])


def _read_camera(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Camera matrix (3, 3) in pixels and world to camera (3, 4) in metres: the two lines of an Extrinsics file."""
    try:
        lines = [np.array(line.split(), dtype=np.float64) for line in read_text(path).splitlines() if line.strip()]
        return lines[0].reshape(3, 3), lines[1].reshape(3, 4)
    except (ValueError, IndexError) as error:
        raise damaged(path, "not a line of 9 and a line of 12 numbers") from error


def _baseline_m(own: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The distance of two cameras that look the same way, given world to camera (3, 4) of each."""
    return float(np.linalg.norm(own[:, 3] - other[:, 3]))


def recognise(root: Path) -> bool:
    """Whether a folder of scenes has disparity or camera files."""
    return any(any(root.glob(f"*/{folder}/[0-9]*.*")) for folder in ("Disp0", "Extrinsics0"))


def open_unrealstereo4k(root: Path) -> ListedDataset[UnrealView]:
    """The left views of `splits/test.txt`, or all left views where the folder has no such list; the group is the scene.

    Raises:
        DatasetError: as `list_views`.
    """
    split = "test" if (root / "splits" / "test.txt").exists() else None
    return ListedDataset(FORM.kind, tuple(list_views(root, split=split)), _sample)


def _sample(view: UnrealView) -> EvalSample:
    image, disparity, valid, _ = read_view(view)
    return EvalSample(
        view.name,
        view.name.partition("/")[0],
        image,
        disparity,
        valid,
        exact_edges=True,
        intrinsics=pinhole(view.own_camera, _read_camera(view.own_camera)[0], image),
        real=False,
    )

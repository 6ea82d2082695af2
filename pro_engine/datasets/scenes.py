"""Scenes that the project rendered itself, read for evaluation and for training alike.

`pro_engine.training.scenes.generate` writes them: NAME.jpg with NAME.npz, which holds depth (H, W) float16 z in
metres with inf for sky, transparent (H, W) uint8, intrinsics (fx, fy, cx, cy) and kind, the kind of scene; and,
where the set has it, backdrop (H, W) uint8: depth is inf, and something else than the sky may be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets.files import Checklist, Form, check_same_size, read_picture, require
from pro_engine.datasets.sample import EvalSample, ListedDataset
from pro_engine.errors import FileError
from pro_engine.io.paths import decoding
from pro_engine.types import Intrinsics

NEAREST_M = 0.02
"""Depth below this counts as this when it is turned into disparity."""

FORM = Form(
    "scenes",
    "NAME.jpg with NAME.npz (depth, transparent, intrinsics, kind), in one folder or several",
    "docs/training.md, which tells how they are rendered",
)


@dataclass(frozen=True)
class RenderedImage:
    """One rendered view on disk: NAME.jpg and NAME.npz (depth in metres with inf for sky, transparent, intrinsics)."""

    picture: Path
    labels: Path


def list_rendered(folders: list[Path]) -> list[RenderedImage]:
    """The finished views below the folders, in name order.

    Raises:
        FileError: a folder without a single view.
    """
    found: list[RenderedImage] = []
    for folder in folders:
        views = [RenderedImage(p, p.with_suffix(".npz")) for p in sorted(folder.rglob("*.jpg"))]
        views = [v for v in views if v.labels.exists()]
        if not views:
            raise FileError(
                f"{folder} holds no rendered views (NAME.jpg with NAME.npz); render some scenes into it first."
            )
        found += views
    return found


def read_rendered(view: RenderedImage) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """image (H, W, 3) uint8 RGB, disparity (H, W) float32 in 1 / metres with 0 for sky, transparent (H, W) bool.

    The disparity is known at every pixel. `unrealstereo4k.read_view` gives the same for views of that dataset.

    Raises:
        FileError: one of the files is missing, truncated or damaged.
    """
    image, labels = _read(view)
    return image, _disparity(labels), labels["transparent"].astype(bool)


def read_rendered_lens(view: RenderedImage) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy in pixels of a view. Raises FileError: its labels are damaged."""
    lost = decoding(view.labels, ".npz file of a scene", "delete it and render its scene again")
    with lost, np.load(view.labels) as archive:
        fx, fy, cx, cy = (float(value) for value in archive["intrinsics"])
    return fx, fy, cx, cy


def _read(view: RenderedImage) -> tuple[NDArray[np.uint8], Mapping[str, NDArray[Any]]]:
    image = read_picture(view.picture)
    require(view.labels)
    with decoding(view.labels, ".npz file of a scene", "delete it and render its scene again"):
        with np.load(view.labels) as archive:
            labels = {name: archive[name] for name in archive.files}
        for name in ("depth", "transparent", *({"backdrop"} & labels.keys())):
            check_same_size(view.labels, labels[name], image)
    return image, labels


def _disparity(labels: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    depth = labels["depth"].astype(np.float32)
    return np.where(np.isfinite(depth), 1.0 / np.maximum(depth, NEAREST_M), 0.0).astype(np.float32)


def recognise(root: Path) -> bool:
    """Whether a picture with its labels lies in the folder or in one below it."""
    labels = (path for pattern in ("*.npz", "*/*.npz") for path in root.glob(pattern))
    return any(path.name != "depth.npz" and path.with_suffix(".jpg").exists() for path in labels)


def open_scenes(root: Path) -> ListedDataset[tuple[str, RenderedImage]]:
    """All views below the folder; a picture without labels, or labels without a picture, is a fault.

    The group is the kind of scene. Sky has the disparity 0 and is valid.

    Raises:
        DatasetError: every file that is missing, unreadable or cut short.
    """
    check = Checklist(root, FORM)
    stems = {path.with_suffix("") for suffix in ("jpg", "npz") for path in root.rglob(f"*.{suffix}")}
    items = []
    for stem in sorted(stems):
        view = RenderedImage(Path(f"{stem}.jpg"), Path(f"{stem}.npz"))
        check.need_all((view.picture, view.labels))
        items.append((stem.relative_to(root).as_posix(), view))
    check.done(len(items))
    return ListedDataset(FORM.kind, tuple(items), _sample)


def _sample(item: tuple[str, RenderedImage]) -> EvalSample:
    name, view = item
    image, labels = _read(view)
    disparity = _disparity(labels)
    fx, fy, cx, cy = read_rendered_lens(view)
    with decoding(view.labels, ".npz file of a scene", "delete it and render its scene again"):
        kind = str(labels["kind"])
    return EvalSample(
        name,
        kind,
        image,
        disparity,
        np.ones(disparity.shape, dtype=bool),
        exact_edges=True,
        transparent=labels["transparent"].astype(bool),
        intrinsics=Intrinsics(fx, fy, cx, cy, image.shape[1], image.shape[0]),
        real=False,
        backdrop=labels["backdrop"].astype(bool) if "backdrop" in labels else None,
    )

"""A plain folder of pictures with whatever is known of each: the form to bring other data into.

`index.csv` has a line per sample with the columns name, kind (depth, disparity or none), group, real_synthetic (real or
synthetic), boundary (1 where true depth edges are exact) and alpha (1 where there is a matte); others are passed over.
NAME/ holds image.png or image.jpg; depth.npz, unless the kind is none, with the text `kind` and the map that it names
(metres, or disparity in pixels or any other multiple of 1 / depth; not finite or 0 is unknown) and, optionally,
`boundary` and `focal_px`; alpha.png with a matte; and, optionally, transparent.png on the grid of the depth.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets.files import Checklist, Form, check_same_size, damaged, inverse, read_mask, require
from pro_engine.datasets.sample import EvalSample, ListedDataset
from pro_engine.io.image import load_image
from pro_engine.io.paths import decoding
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics

COLUMNS = ("name", "kind", "group", "real_synthetic", "boundary", "alpha")
KINDS = ("depth", "disparity", "none")

FORM = Form(
    "flat",
    f"index.csv (columns {', '.join(COLUMNS)}) and NAME/image.png or .jpg, NAME/depth.npz, NAME/alpha.png",
    "the docstring of pro_engine/datasets/flat.py",
)


@dataclass(frozen=True)
class FlatView:
    """The files of a sample, and what the index says of it."""

    name: str
    group: str
    real: bool
    exact_edges: bool
    picture: Path
    depth: Path | None
    matte: Path | None
    transparent: Path | None


def _index(path: Path) -> list[dict[str, str]]:
    require(path)
    with decoding(path, "CSV table"), open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        absent = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if absent:
            raise damaged(path, f"no column {', '.join(absent)}")
        return list(table)


def recognise(root: Path) -> bool:
    """Whether there is an index.csv."""
    return (root / "index.csv").exists()


def open_flat(root: Path) -> ListedDataset[FlatView]:
    """The samples in the order of the index.

    Raises:
        DatasetError: the index, or every file that is missing, unreadable or cut short.
    """
    check = Checklist(root, FORM)
    index = root / "index.csv"
    views = []
    for row in _index(index) if check.need(index) else ():
        view = _view(root / row["name"], row)
        check.need(view.picture)
        check.need_all(path for path in (view.depth, view.matte, view.transparent) if path is not None)
        if row["kind"] not in KINDS:
            check.faults.append((index, f"the kind of {row['name']} is {row['kind']!r}, not one of {', '.join(KINDS)}"))
        views.append(view)
    check.done(len(views))
    return ListedDataset(FORM.kind, tuple(views), _sample)


def _view(folder: Path, row: Mapping[str, str]) -> FlatView:
    picture, transparent = folder / "image.jpg", folder / "transparent.png"
    return FlatView(
        name=row["name"],
        group=row["group"],
        real=row["real_synthetic"] != "synthetic",
        exact_edges=row["boundary"] == "1",
        picture=picture if picture.exists() else folder / "image.png",
        depth=None if row["kind"] == "none" else folder / "depth.npz",
        matte=folder / "alpha.png" if row["alpha"] == "1" else None,
        transparent=transparent if transparent.exists() else None,
    )


def _read_depth(path: Path) -> tuple[FloatMap, BoolMap, float | None]:
    """Disparity and where it is known, as float32 and bool, and the focal length in pixels of the image if it tells."""
    require(path)
    with decoding(path, ".npz file of depth"), np.load(path) as archive:
        kind = str(archive["kind"])
        if kind not in KINDS[:2]:
            raise damaged(path, f"kind is {kind!r}, not depth or disparity")
        values: NDArray[Any] = archive[kind]
        if values.ndim != 2:
            raise damaged(path, f"{kind} has the shape {values.shape}, not (H, W)")
        focal_px = float(archive["focal_px"]) if "focal_px" in archive else None
    valid = np.isfinite(values) & (values > 0)
    disparity = inverse(values, valid) if kind == "depth" else np.where(valid, values, 0).astype(np.float32)
    return disparity, valid, focal_px


def _camera(image: ImageArray, focal_px: float | None) -> Intrinsics | None:
    height, width = image.shape[:2]
    if focal_px is None:
        return None
    return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)


def _sample(view: FlatView) -> EvalSample:
    require(view.picture)
    image, intrinsics = load_image(view.picture)
    disparity = valid = matte = transparent = None
    if view.depth is not None:
        disparity, valid, focal_px = _read_depth(view.depth)
        intrinsics = _camera(image, focal_px) or intrinsics
    if view.matte is not None:
        matte = read_mask(view.matte)
        check_same_size(view.matte, matte, image)
    if view.transparent is not None and disparity is not None:
        transparent = read_mask(view.transparent) != 0
        check_same_size(view.transparent, transparent, disparity)
    return EvalSample(
        name=view.name,
        group=view.group,
        image=image,
        disparity=disparity,
        valid=valid,
        exact_edges=view.exact_edges,
        transparent=transparent,
        matte=matte,
        intrinsics=intrinsics,
        real=view.real,
    )

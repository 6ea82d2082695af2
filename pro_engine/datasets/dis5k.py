"""DIS5K (Qin et al., ECCV 2022): photos with very fine outlines of one object, and no depth.

The form is that of https://github.com/xuebinqin/DIS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pro_engine.datasets.files import Checklist, Form, check_same_size, read_mask, read_picture
from pro_engine.datasets.sample import EvalSample, ListedDataset

SPLITS = ("DIS-TR", "DIS-VD", "DIS-TE1", "DIS-TE2", "DIS-TE3", "DIS-TE4")

FORM = Form(
    "dis5k",
    "DIS-VD/im/NAME.jpg with DIS-VD/gt/NAME.png, and so DIS-TR and DIS-TE1 to 4",
    "https://github.com/xuebinqin/DIS",
)


@dataclass(frozen=True)
class MatteView:
    """A photo and the outline of its object."""

    split: str
    picture: Path
    matte: Path


def _splits(root: Path) -> list[Path]:
    """The folders of the splits: those in the given folder, or the folder itself."""
    if any((root / part).is_dir() for part in ("im", "gt")):
        return [root]
    return [root / name for name in SPLITS if (root / name).is_dir()]


def recognise(root: Path) -> bool:
    """Whether there is a split with outlines, or the folder is one."""
    return any((split / "gt").is_dir() and (split.name in SPLITS or (split / "im").is_dir()) for split in _splits(root))


def open_dis5k(root: Path) -> ListedDataset[MatteView]:
    """The photos of every split that is there; the group is the split. A sample has a matte and no disparity.

    Raises:
        DatasetError: every photo without an outline, outline without a photo, or unreadable file.
    """
    check = Checklist(root, FORM)
    views = []
    for split in _splits(root):
        stems = {path.stem for part in ("im/*.jpg", "gt/*.png") for path in split.glob(part)}
        for stem in sorted(stems):
            view = MatteView(split.name, split / "im" / f"{stem}.jpg", split / "gt" / f"{stem}.png")
            check.need_all((view.picture, view.matte))
            views.append(view)
    check.done(len(views))
    return ListedDataset(FORM.kind, tuple(views), _sample)


def _sample(view: MatteView) -> EvalSample:
    image, matte = read_picture(view.picture), read_mask(view.matte)
    check_same_size(view.matte, matte, image)
    return EvalSample(f"{view.split}/{view.picture.stem}", view.split, image, matte=matte)

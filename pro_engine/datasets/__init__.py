"""Datasets in the folder forms in which they are published; `docs/datasets.md` describes each.

    dataset = open_dataset("downloads/middlebury")
    for sample in (dataset[i] for i in range(len(dataset))):
        ...

Opening a folder checks that every file is there and whole as far as its size and its first bytes tell, and raises one
`DatasetError` that names all that are not. Pixels are read when a sample is asked for, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pro_engine.datasets import dis5k, eth3d, flat, nuscenes, scenes, stereo, unrealstereo4k
from pro_engine.datasets.files import DatasetError, Form
from pro_engine.datasets.sample import EvalDataset, EvalSample
from pro_engine.errors import FileError, InputError
from pro_engine.io.paths import PathLike, as_path

__all__ = ["DATASETS", "DatasetError", "EvalDataset", "EvalSample", "open_dataset"]

_KINDS: tuple[tuple[Form, Callable[[Path], bool], Callable[[Path], EvalDataset]], ...] = (
    (scenes.FORM, scenes.recognise, scenes.open_scenes),
    (unrealstereo4k.FORM, unrealstereo4k.recognise, unrealstereo4k.open_unrealstereo4k),
    (stereo.MIDDLEBURY, stereo.recognise_middlebury, stereo.open_middlebury),
    (eth3d.FORM, eth3d.recognise, eth3d.open_eth3d),
    (stereo.BOOSTER, stereo.recognise_booster, stereo.open_booster),
    (nuscenes.FORM, nuscenes.recognise, nuscenes.open_nuscenes),
    (dis5k.FORM, dis5k.recognise, dis5k.open_dis5k),
    (flat.FORM, flat.recognise, flat.open_flat),
)

DATASETS = {form.kind: open_ for form, _, open_ in _KINDS}
"""Openers by the name of the kind of dataset; each takes a folder and raises DatasetError."""


def open_dataset(path: PathLike, kind: str = "auto") -> EvalDataset:
    """Check the folder of a dataset and list its samples; pixels are read when a sample is asked for.

    Args:
        path: the folder.
        kind: a key of `DATASETS`, or "auto" to tell by the files in the folder.

    Raises:
        DatasetError: files are missing, unreadable or of the wrong size; all of them are named.
        FileError: no folder; or, with "auto", a folder of no known kind, or of several.
        InputError: an unknown kind.
    """
    root = as_path(path).absolute()
    if kind != "auto" and kind not in DATASETS:
        raise InputError(f"The kind of dataset is {kind!r}; give 'auto' or one of {', '.join(DATASETS)}.")
    if not root.is_dir():
        raise FileError(f"{root} is not a folder; give the folder into which the dataset was unpacked.")
    return DATASETS[_recognised(root) if kind == "auto" else kind](root)


def _recognised(root: Path) -> str:
    """The one kind whose files lie in the folder."""
    found = [form.kind for form, recognise, _ in _KINDS if recognise(root)]
    if len(found) == 1:
        return found[0]
    if found:
        raise FileError(f"{root} looks like {' and '.join(found)}; say which kind it is, or give the folder of one.")
    looked_for = "\n".join(f"  {form.kind}: {form.tree}" for form, _, _ in _KINDS)
    raise FileError(
        f"{root} is no dataset of a known kind; give the folder that holds the files of one of these:\n{looked_for}\n"
        "If it is one of them in part, say its kind to learn which files are missing. See docs/datasets.md."
    )

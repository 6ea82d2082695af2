"""Datasets in the folder forms in which they are published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pro_engine.evaluation.datasets.sample import EvalDataset, EvalSample
from pro_engine.io.paths import PathLike, as_path

__all__ = ["DATASETS", "EvalDataset", "EvalSample", "open_dataset"]

DATASETS: dict[str, Callable[[Path], EvalDataset]] = {}
"""Openers by the name of the kind of dataset."""


def open_dataset(path: PathLike, kind: str = "auto") -> EvalDataset:
    """Check the folder of a dataset and list its samples; pixels are read when a sample is asked for.

    Args:
        path: the folder.
        kind: a key of `DATASETS`, or "auto" to tell by the files in the folder.
    """
    return DATASETS[kind](as_path(path))

"""Average the weights of runs that started from each other: `python -m pro_engine.training.average`.

Checkpoints along one path lie in one valley of the loss, where a mean of the weights is often better than either end
("model soups", arXiv 2203.05482).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pro_engine.errors import InputError
from pro_engine.io.weights import read_weights, save_weights


def average(files: list[Path], shares: list[float], out: Path) -> None:
    """Write the weighted mean of several files with the same tensors; integer tensors are those of the last file.

    Raises:
        InputError: as many shares as files are needed, with a sum of 1. WeightsError: a file cannot be read.
    """
    if len(files) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"The shares are {shares} for {len(files)} files; give one each, with a sum of 1.")
    loaded = [read_weights(file) for file in files]
    if any(tensors.keys() != loaded[0].keys() for tensors in loaded):
        raise InputError("The files hold different tensors; give runs of the same network.")
    mean = dict(loaded[-1])
    for key, last in loaded[-1].items():
        if last.dtype.is_floating_point:
            parts = [share * tensors[key] for share, tensors in zip(shares, loaded, strict=True)]
            mean[key] = torch.stack(parts).sum(0)
    save_weights(out, mean)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    average(a.files, a.shares, a.out)


if __name__ == "__main__":
    main()

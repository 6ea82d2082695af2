"""Flicker of the maps of a shot, with and without the held scale:

    python benchmarks/flicker.py [FOLDER] [--model compact] [--tiles auto|1x1|...]

FOLDER has the frames in `rgb/`, in order of their names; by default `../shared/eval/seq_bedroom`. Flicker is the mean
change of the map from a frame to the next over the pixels at which the picture does not change, divided by the map's
standard deviation; the mean over all pairs of frames. A pixel does not change where no channel of the blurred picture
changes by more than 3 of 255 within 4 pixels. Where FOLDER has depth in `depth/`, 16-bit PNG in millimetres with 0 for
none, the error of the maps is told as well: AbsRel with scale and shift fitted in every frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.evaluation.metrics import accuracy, align
from pro_engine.inference.load import load_model
from pro_engine.inference.video import ScaleHold
from pro_engine.io.depth import load_depth
from pro_engine.io.image import load_image
from pro_engine.options import InferenceOptions, ModelOptions
from pro_engine.types import FloatMap, ImageArray

BEDROOM = Path(__file__).resolve().parents[2] / "shared/eval/seq_bedroom"
BLUR_PX = 2.0
SAME_LEVELS = 3
RIM_PX = 4


class Frame(NamedTuple):
    """A picture, its map as the model gives it and on the held scale, and its true depth in metres, where known."""

    image: ImageArray
    raw: FloatMap
    held: FloatMap
    depth: FloatMap | None


def unchanged(one: ImageArray, other: ImageArray) -> NDArray[np.bool_]:
    """Where the picture (H, W, 3) is the same in two frames, (H, W)."""
    first, second = (cv2.GaussianBlur(image, (0, 0), BLUR_PX).astype(np.int16) for image in (one, other))
    same = (np.abs(first - second).max(2) <= SAME_LEVELS).astype(np.uint8)
    return cv2.erode(same, np.ones((2 * RIM_PX + 1,) * 2)) > 0


def flicker(one: FloatMap, other: FloatMap, same: NDArray[np.bool_]) -> float:
    """Mean change of the map where `same`, over its standard deviation."""
    return float(np.abs(other - one)[same].mean() / one.std())


def least_flicker(one: FloatMap, other: FloatMap, same: NDArray[np.bool_]) -> float:
    """What is left of the flicker if the scale and shift of `other` are those that fit `one` best."""
    scale, shift = np.polyfit(other[same], one[same], 1)
    return flicker(one, np.asarray(scale * other + shift, np.float32), same)


def frames(folder: Path, model: str, options: InferenceOptions) -> Iterator[Frame]:
    """The frames of a folder in order, each inferred once."""
    predictor, hold = load_model(model, device="cpu"), ScaleHold()
    for path in sorted((folder / "rgb").iterdir()):
        image, _ = load_image(path)
        result = predictor.infer(image, options=options)
        truth = folder / "depth" / f"{path.stem}.png"
        depth = load_depth(truth)[0] if truth.exists() else None
        yield Frame(image, result.disparity, hold.apply(image, result).disparity, depth)


def error(map_: FloatMap, depth: FloatMap) -> float:
    """AbsRel of a relative map, fitted to the true depth."""
    known = np.isfinite(depth) & (depth > 0)
    truth = np.divide(1, depth, out=np.zeros_like(depth), where=known)
    return accuracy(align(map_, truth, known))["absrel"]


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=BEDROOM)
    parser.add_argument("--model", default=ModelOptions.name)
    parser.add_argument("--tiles", default=InferenceOptions.tiles)
    chosen = parser.parse_args(arguments)
    tiles: tuple[int, int] | str = chosen.tiles
    if chosen.tiles != "auto":
        rows, cols = map(int, chosen.tiles.split("x"))
        tiles = rows, cols
    shares, changes, errors = [], [], []
    last: Frame | None = None
    for frame in frames(chosen.folder, chosen.model, InferenceOptions(tiles=tiles)):  # type: ignore[arg-type]
        if last is not None:
            same = unchanged(last.image, frame.image)
            shares.append(same.mean())
            by_line = least_flicker(last.raw, frame.raw, same)
            changes.append((flicker(last.raw, frame.raw, same), by_line, flicker(last.held, frame.held, same)))
        if frame.depth is not None:
            errors.append((error(frame.raw, frame.depth), error(frame.held, frame.depth)))
        last = frame
    raw, by_line, held = np.mean(changes, axis=0)
    print(f"{len(changes) + 1} frames, the picture is the same at {np.mean(shares):.0%} of the pixels")
    print(f"flicker without the held scale {raw:.4f}, with it {held:.4f}, ratio {held / raw:.2f}")
    print(f"with the best scale and shift of each frame alone {by_line:.4f}, ratio {by_line / raw:.2f}")
    if errors:
        without, with_it = np.mean(errors, axis=0)
        print(f"AbsRel  without the held scale {without:.4f}, with it {with_it:.4f}")


if __name__ == "__main__":
    main()

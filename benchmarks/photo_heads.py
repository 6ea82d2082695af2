"""How right is what a model tells of a photo as such: its lens, its metres, its sky?

    python benchmarks/photo_heads.py --data FOLDER [--renders FOLDER] [--lenses FOLDER] [--weights FILE]

FOLDER is of the plain form (`datasets/flat.py`); its index also says `indoor_outdoor`. Lens: items whose focal length
is known, beside the best constant. Metres: items with depth in metres, the median of log2(estimated / true) over the
pixels of each. Sky: photos whose sky was outlined by hand (`sky_outlines.json`, polygons in thousandths of the width).
RENDERS: scenes of `pro-engine train scenes` that no network was trained on, the first `--count` by name; lens and sky
alone. LENSES: where the Debian packages mate-backgrounds and plasma-workspace-wallpapers put their files (/usr/share),
twelve of which tell the focal length and have a sensor of known size (`lenses.json`, degrees across the longer side).

The lens that is told lies between a usual one and what the head reads (`READ_SHARE`), and follows straight lines where
a photo has them (`geometry/vanishing.py`). Rows of the lens say what other shares would give, without and with lines. A
sky that is told in photos without an outline is listed with its share of the picture.

The overlap of sky is intersection over union, in two ways: of all pixels of all pictures together, as is usual for
segmentation, and the mean over the pictures that have a sky, in which a slit of sky counts as much as half a picture.
Renders show the panorama that lights them where no surface is. What may be a house or the ground in it (`backdrop`)
counts neither way; a second line takes all of it for sky.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from pro_engine.datasets import open_dataset
from pro_engine.datasets.sample import EvalSample
from pro_engine.geometry.depth import disparity_to_depth, span_scale_shift
from pro_engine.geometry.vanishing import focal_from_lines
from pro_engine.inference import whole
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.image import load_image
from pro_engine.models.photo_heads import READ_SHARE, USUAL_FOCAL
from pro_engine.options import InferenceOptions
from pro_engine.types import BoolMap, DepthResult, ImageArray

OUTLINES = Path(__file__).with_name("sky_outlines.json")
LENSES = Path(__file__).with_name("lenses.json")
SHARES = (1.0, 0.5, READ_SHARE, 0.1, 0.0)
TOLD = 0.01
"""A sky of at least this share of a photo is listed."""

Polygon = list[tuple[float, float]]


def read_outlines(path: Path = OUTLINES) -> dict[str, list[Polygon]]:
    """The polygons of each photo's sky."""
    found: dict[str, list[Polygon]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sky_of(polygons: Sequence[Polygon], height: int, width: int) -> BoolMap:
    """(height, width), where the polygons are."""
    mask = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(np.array(polygon) * width / 1000).astype(np.int32)], 1)
    return mask > 0


def overlap(found: BoolMap | None, true: BoolMap) -> float:
    """Intersection over union; 1 where neither has any."""
    found = np.zeros_like(true) if found is None else found
    union = np.count_nonzero(found | true)
    return np.count_nonzero(found & true) / union if union else 1.0


@dataclass
class Overlaps:
    """The overlaps of pictures: `each` of those that have a sky, and the pixels of all."""

    each: list[float] = field(default_factory=list)
    both: int = 0
    either: int = 0

    def add(self, found: BoolMap | None, true: BoolMap, known: BoolMap | None = None) -> float:
        """The overlap of one more picture, where it is known."""
        found = np.zeros_like(true) if found is None else found
        if known is not None:
            found, true = found & known, true & known
        self.both += np.count_nonzero(found & true)
        self.either += np.count_nonzero(found | true)
        one = overlap(found, true)
        if true.any():
            self.each.append(one)
        return one

    def __str__(self) -> str:
        return (
            f"overlap of all pixels {self.both / max(self.either, 1):.3f}, "
            f"mean of {len(self.each)} pictures {np.mean(self.each):.3f}, least {min(self.each):.3f}"
        )


def log2_error(result: DepthResult, sample: EvalSample) -> float:
    """Median of log2(estimated / true) over the pixels with a true depth."""
    assert result.span_m is not None and sample.disparity is not None and sample.valid is not None
    surfaces = None if result.sky is None else ~result.sky
    depth = disparity_to_depth(result.disparity, span_scale_shift(result.disparity, *result.span_m, surfaces))
    height, width = sample.disparity.shape
    at_truth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    known = sample.valid & (sample.disparity > 0)
    return float(np.median(np.log2(at_truth[known]) + np.log2(sample.disparity[known])))


def longer_fov_deg(focal_px: float, image: ImageArray) -> float:
    """Across the longer side."""
    return math.degrees(2 * math.atan(max(image.shape[:2]) / (2 * focal_px)))


def read_focal(model: DepthPredictor, image: ImageArray) -> float:
    """The focal length that the head reads, as a share of the square root of the picture's area."""
    with mock.patch.object(whole, "focal_from_lines", lambda _, usual: usual):
        told = model.infer(image, options=InferenceOptions(refine="none")).intrinsics
    assert told is not None
    return float(USUAL_FOCAL * (told.fx / math.sqrt(told.width * told.height) / USUAL_FOCAL) ** (1 / READ_SHARE))


def fovs_at_shares(read: float, image: ImageArray) -> list[float]:
    """Fields of view with each of `SHARES` of what is read (see `read_focal`), without lines and then with them."""
    guesses = [USUAL_FOCAL * (read / USUAL_FOCAL) ** share for share in SHARES]
    focals = guesses + [focal_from_lines(image, guess) for guess in guesses]
    return [longer_fov_deg(focal * math.sqrt(image.shape[0] * image.shape[1]), image) for focal in focals]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's."""
    first, second = (np.argsort(np.argsort(values)) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def lens_line(found: Sequence[float], true: Sequence[float]) -> str:
    """The median error in degrees beside that of the best constant."""
    errors, constant = np.abs(np.subtract(found, true)), np.abs(np.subtract(true, np.median(true)))
    return (
        f"field of view, {len(true)} pictures: median error {np.median(errors):.1f} degrees, of the best constant "
        f"{np.median(constant):.1f}; rank correlation {rank_correlation(found, true):.2f}"
    )


def lens_lines(at_shares: Sequence[Sequence[float]], true: Sequence[float]) -> Iterator[str]:
    """`lens_line` for each share; at_shares: see `fovs_at_shares`, of each picture."""
    rows = [f"share {share:g}, {lines}" for lines in ("no lines", "lines") for share in SHARES]
    for row, found in zip(rows, zip(*at_shares, strict=True), strict=True):
        told = " (told)" if row == f"share {READ_SHARE:g}, lines" else ""
        yield f"{row}{told}: {lens_line(found, true)}"


def photos(model: DepthPredictor, root: Path) -> Iterator[str]:
    """The lines for a folder of photos."""
    with open(root / "index.csv", newline="", encoding="utf-8") as file:
        index = {row["name"]: row for row in csv.DictReader(file)}
    outlines, dataset = read_outlines(), open_dataset(root)
    lenses: list[list[float]] = []
    true_fovs: list[float] = []
    metres: dict[str, list[float]] = {"indoor": [], "outdoor": []}
    skies = Overlaps()
    yield "| photo | field of view (true) | log2 of metres | overlap of sky |\n|---|---|---|---|"
    for sample in map(dataset.__getitem__, range(len(dataset))):
        row, cells = index[sample.name], ["", "", ""]
        in_metres = row["kind"] == "depth" and sample.real
        result = model.infer(sample.image, options=InferenceOptions(refine="none"))
        if sample.intrinsics is not None and sample.real and result.intrinsics is not None:
            lenses.append(fovs_at_shares(read_focal(model, sample.image), sample.image))
            true_fovs.append(longer_fov_deg(sample.intrinsics.fx, sample.image))
            cells[0] = f"{longer_fov_deg(result.intrinsics.fx, sample.image):.1f} ({true_fovs[-1]:.1f})"
        if in_metres:
            metres[row["indoor_outdoor"]].append(log2_error(result, sample))
            cells[1] = f"{metres[row['indoor_outdoor']][-1]:+.2f}"
        if sample.name in outlines:
            cells[2] = f"{skies.add(result.sky, sky_of(outlines[sample.name], *sample.image.shape[:2])):.3f}"
        elif result.sky is not None and result.sky.mean() >= TOLD:
            cells[2] = f"{result.sky.mean():.0%} told"
        if any(cells):
            yield f"| {sample.name} | {' | '.join(cells)} |"
    yield ""
    yield from lens_lines(lenses, true_fovs)
    for place, errors in metres.items():
        yield f"metres, {len(errors)} {place}: median of the size of log2 {np.median(np.abs(errors)):.2f}"
    yield f"sky, photos: {skies}"


def renders(model: DepthPredictor, root: Path, count: int) -> Iterator[str]:
    """The lines for renders."""
    dataset = open_dataset(root)
    lenses, true_fovs, told = [], [], []
    skies, infinite = Overlaps(), Overlaps()
    for sample in map(dataset.__getitem__, range(min(count, len(dataset)))):
        result = model.infer(sample.image, options=InferenceOptions(refine="none"))
        assert sample.intrinsics is not None and sample.disparity is not None
        if result.intrinsics is not None:
            lenses.append(fovs_at_shares(read_focal(model, sample.image), sample.image))
            true_fovs.append(longer_fov_deg(sample.intrinsics.fx, sample.image))
        true = sample.disparity == 0
        infinite.add(result.sky, true)
        skies.add(result.sky, true, None if sample.backdrop is None else ~sample.backdrop)
        if not true.any():
            told.append(0.0 if result.sky is None else result.sky.mean())
    yield from (f"renders, {line}" for line in lens_lines(lenses, true_fovs))
    yield f"renders, sky: {skies}; told in {len(told)} without one: {np.mean(told):.2%}"
    yield f"renders, all that is infinitely far: {infinite}"


def wallpapers(model: DepthPredictor, root: Path) -> Iterator[str]:
    """The lines for photos whose lens is known from their files."""
    known: dict[str, float] = json.loads(LENSES.read_text(encoding="utf-8"))
    found = []
    for name in known:
        image = load_image(root / name)[0]
        found.append(fovs_at_shares(read_focal(model, image), image))
    yield from (f"other photos, {line}" for line in lens_lines(found, list(known.values())))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--renders", type=Path)
    parser.add_argument("--lenses", type=Path)
    parser.add_argument("--count", type=int, default=300, help="renders at most")
    parser.add_argument("--model", default="hybrid")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args(arguments)
    model = load_model(options.model, weights=options.weights)
    for line in photos(model, options.data):
        print(line, flush=True)
    if options.renders is not None:
        for line in renders(model, options.renders, options.count):
            print(line, flush=True)
    if options.lenses is not None:
        for line in wallpapers(model, options.lenses):
            print(line, flush=True)


if __name__ == "__main__":
    main()

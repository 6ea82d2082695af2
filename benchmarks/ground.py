"""Metres from the ground on rendered views of roads and rooms, whose camera stands at a known height and pitch.

    python benchmarks/ground.py [--model hybrid] [--scenes 2] [--size 640x480] [--kinds driving,room,office]
    python benchmarks/ground.py --folder DATA --heights NAME=METRES,NAME=METRES,...

The renderer of the training scenes is given cameras of 0.3 to 1.7 m and 0 to 25 degrees. Printed are medians over the
views of the median |depth / truth - 1|: of the floor from the true disparity with 2 % noise, scaled and shifted; of the
floor, and of all within 10 m, from the model's. Then the same of the model where neither pitch nor roll is told. Views
that are refused are counted. Scenes of training are never these: their numbers are far apart. Needs the extra `train`.

The second command is for photos of a folder in the form of `pro_engine/datasets/flat.py`, whose depth is known and
whose camera is so high: the error of all that is known up to 80 m, from the height alone, from the height of a camera
that is taken to look level, and from the scale and shift that fit the other photos best.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pro_engine as pro
from pro_engine.datasets.flat import open_flat
from pro_engine.errors import InputError
from pro_engine.jobs.metres import PhotoLens
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.scale import find_scale
from pro_engine.training.scenes.kinds import build_scene
from pro_engine.training.scenes.render.camera_effects import develop
from pro_engine.training.scenes.render.embree import EmbreeScene

FIRST = 900_000  # number of the first scene
POSES = tuple((height_m, pitch_deg) for height_m in (0.3, 0.9, 1.7) for pitch_deg in (0.0, 12.0, 25.0))
FOV_X = np.radians(70.0)
FLOOR = 0.01  # relative difference from the depth of the plane z = 0, up to which a pixel is floor
MIN_FLOOR = 0.15  # of the picture
PROPOSALS = 200
REACH_M, FAR_M = 10.0, 80.0
PER_PHOTO = 2000  # pixels that a photo has in the fit for another one
NOISE = 0.02

Array = NDArray[Any]


@dataclass(frozen=True)
class Seen:
    """A view: picture (H, W, 3), true depth, which of it is floor, lens, and where its camera is."""

    picture: Array
    depth: Array
    floor: Array
    lens: pro.Intrinsics
    height_m: float
    pitch_deg: float


def views(kind: str, number: int, size: tuple[int, int]) -> Iterator[Seen]:
    """A view of a scene for each pose for which it has room."""
    rng = np.random.default_rng(number)
    scene = build_scene(kind, rng)
    tracer = EmbreeScene(scene)
    width, height = size
    lens = pro.Intrinsics.from_fov(width, height, fov_x_deg=float(np.degrees(FOV_X)))
    for height_m, pitch_deg in POSES:
        depth = plane_depth(lens, height_m, pitch_deg)
        for _ in range(PROPOSALS):
            base = scene.propose(rng)
            place = (base.position[0], base.position[1], height_m)
            camera = replace(base, position=place, pitch=-np.radians(pitch_deg), roll=0.0, fov_x=FOV_X, blur=0.0)
            coarse = tracer.probe(camera, 16, 12, height / width)
            rows = np.linspace(0, height - 1, 12).round().astype(int)
            with np.errstate(invalid="ignore"):
                near = np.abs(coarse / depth[rows] - 1) < FLOOR
            if coarse.min() > 0.3 * height_m and near.mean() > MIN_FLOOR:
                rendered = tracer.render(camera, width, height, rng)
                with np.errstate(invalid="ignore"):
                    floor = np.abs(rendered.depth / depth - 1) < FLOOR
                yield Seen(develop(rendered, scene, camera, rng), rendered.depth, floor, lens, height_m, pitch_deg)
                break


def plane_depth(lens: pro.Intrinsics, height_m: float, pitch_deg: float) -> Array:
    """Depth (H, 1) of the floor; infinite above the horizon."""
    down = pro.down_vector(pitch_deg, 0.0)
    slope = down[1] * (np.arange(lens.height) - lens.cy) / lens.fy + down[2]
    depth = np.full(lens.height, np.inf)
    depth[slope > 0] = height_m / slope[slope > 0]
    return depth[:, None]


def errors(result: pro.DepthResult, seen: Seen, *, told: bool) -> tuple[float, float]:
    """Median relative errors of the floor and of all within reach; NaN where the ground is refused."""
    pitch_deg, roll_deg = (seen.pitch_deg, 0.0) if told else (None, None)
    job = JobOptions(camera_height_m=seen.height_m, pitch_deg=pitch_deg, roll_deg=roll_deg)
    try:
        scale = find_scale(result, "view", job, PhotoLens(seen.lens, "given"), assume=False)
    except InputError:
        return float("nan"), float("nan")
    assert scale is not None
    with np.errstate(invalid="ignore"):  # a sky over a sky
        apart = np.abs(pro.disparity_to_depth(result.disparity, scale.scale_shift) / seen.depth - 1)
    within = np.isfinite(seen.depth) & (seen.depth < REACH_M)
    return float(np.median(apart[seen.floor])), float(np.median(apart[within]))


def photos(folder: Path, heights: dict[str, float], predictor: pro.DepthPredictor, refine: str) -> None:
    """Print the table of photos."""
    data = open_flat(folder)
    samples = [data.read(item) for item in data.items if item.name in heights]
    found, truth, known = {}, {}, {}
    for sample in samples:
        assert sample.disparity is not None and sample.valid is not None and sample.intrinsics is not None
        options = pro.InferenceOptions(refine=refine)  # type: ignore[arg-type]
        found[sample.name] = predictor.infer(sample.image, intrinsics=sample.intrinsics, options=options)
        truth[sample.name] = 1 / np.maximum(sample.disparity, 1 / FAR_M)
        known[sample.name] = sample.valid & (sample.disparity > 1 / FAR_M)
    print("| photo | height | estimated attitude | level | scale and shift of the others |\n|---|---|---|---|---|")
    for sample in samples:
        name, lens = sample.name, PhotoLens(sample.intrinsics, "given")  # type: ignore[arg-type]
        jobs = [JobOptions(camera_height_m=heights[name], pitch_deg=pitch_deg) for pitch_deg in (None, 0.0)]
        scales = [find_scale(found[name], name, job, lens, assume=False) for job in jobs]
        rng, rows = np.random.default_rng(0), []
        for other in found:
            if other != name:
                chosen = rng.permutation(np.flatnonzero(known[other]))[:PER_PHOTO]
                rows.append((found[other].disparity.ravel()[chosen], truth[other].ravel()[chosen]))
        d, z = (np.concatenate(part)[None] for part in zip(*rows, strict=True))
        links = [scale.scale_shift for scale in scales if scale] + [pro.fit_scale_shift(d, z.astype(np.float32))]
        depths = [pro.disparity_to_depth(found[name].disparity, link) for link in links]
        cells = [f"{np.median(np.abs(depth / truth[name] - 1)[known[name]]):.1%}" for depth in depths]
        print(f"| {name} | {heights[name]:g} | {' | '.join(cells)} |", flush=True)


def exact(seen: Seen) -> pro.DepthResult:
    """The true disparity with noise, scaled and shifted."""
    noise = 1 + np.random.default_rng(0).normal(0, NOISE, seen.depth.shape)
    disparity = (3.7 * noise / np.maximum(seen.depth, 0.01) + 1.1).astype(np.float32)
    return pro.DepthResult(disparity, np.isfinite(seen.depth))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hybrid")
    parser.add_argument("--refine", default="none")
    parser.add_argument("--kinds", default="driving,room,office")
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--heights", default="", help="NAME=METRES,...")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    predictor, options = pro.load_model(given.model, device="cpu"), pro.InferenceOptions(refine=given.refine)
    if given.folder:
        heights = {name: float(text) for name, text in (part.split("=") for part in given.heights.split(","))}
        photos(given.folder, heights, predictor, given.refine)
        return
    print("| kind | views | exact: floor | model: floor | within 10 m | untold: floor | within 10 m | refused |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in given.kinds.split(","):
        rows = []
        for number in range(FIRST, FIRST + given.scenes):
            for seen in views(kind, number, (width, height)):
                result = predictor.infer(seen.picture, intrinsics=seen.lens, options=options)
                told = errors(exact(seen), seen, told=True)[:1] + errors(result, seen, told=True)
                rows.append(told + errors(result, seen, told=False))
        table = np.array(rows)
        refused = ", ".join(str(int(np.isnan(table[:, column]).sum())) for column in (0, 1, 3))
        cells = " | ".join(f"{np.nanmedian(column):.1%}" for column in table.T)
        print(f"| {kind} | {len(rows)} | {cells} | {refused} |", flush=True)


if __name__ == "__main__":
    main()

"""How far the distances of panoramas are off, on rendered scenes whose distances are known.

    python benchmarks/panorama.py [--scenes street:7,nature:3] [--width 1024] [--refine none] [--assets FOLDER]

A row a scene: median relative error with one factor for the whole panorama; the share within 1.25 times the truth; the
same with a shift fitted to the truth as well; and the median step where the first column meets the last, divided by
the one between other neighbours (1 where no seam shows). Surfaces up to 60 m count, by the area they have around.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import pro_engine as pro
from pro_engine.geometry.camera import directions
from pro_engine.options import InferenceOptions, choices_of
from pro_engine.training.scenes.kinds import build_scene
from pro_engine.training.scenes.parts.assets import load_assets
from pro_engine.training.scenes.render.camera_view import camera_axes
from pro_engine.training.scenes.render.embree import EmbreeScene
from pro_engine.types import FloatMap, ImageArray

SCENES = "street:7,nature:3,office:4,driving:6,room:5"
FACE_DEG = 92.0
ROOM_M = 0.6  # around the camera
REACH_M = 60.0
PROPOSALS = 200


def render(kind: str, seed: int, width: int, assets: Path | None) -> tuple[ImageArray, FloatMap]:
    """A panorama (W / 2, W, 3) of a scene, joined from six renders, and its distances."""
    rng = np.random.default_rng(seed)
    scene = build_scene(kind, rng, load_assets(assets))
    tracer = EmbreeScene(scene)
    for _ in range(PROPOSALS):
        camera = replace(scene.propose(rng), pitch=0.0, roll=0.0, fov_x=math.radians(FACE_DEG))
        faces = [replace(camera, yaw=camera.yaw - turn * math.pi / 2) for turn in range(4)]
        if all(tracer.probe(face, 7, 7, 1.0).min() > ROOM_M for face in faces):
            break
    faces += [replace(camera, pitch=pitch) for pitch in (math.pi / 2, -math.pi / 2)]
    rays = directions(np.arange(width // 2), np.arange(width), width // 2, width) @ camera_axes(camera).T
    light, distance = np.zeros(rays.shape, np.float32), np.zeros(rays.shape[:2], np.float32)
    best = np.zeros(rays.shape[:2])
    for face in faces:
        side = round(0.4 * width)
        rendered = tracer.render(face, side, side, np.random.default_rng(seed))
        own = (rays @ camera_axes(face)).astype(np.float32)
        nearest = own[..., 2] > np.maximum(best, 0.2)
        fx, fy, cx, cy = rendered.intrinsics
        z = np.where(nearest, own[..., 2], 1)
        x, y = own[..., 0] / z * np.float32(fx) + np.float32(cx), own[..., 1] / z * np.float32(fy) + np.float32(cy)
        picture = cv2.remap(rendered.rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        depth = cv2.remap(rendered.depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        light[nearest], distance[nearest] = np.asarray(picture)[nearest], (np.asarray(depth) / z)[nearest]
        best[nearest] = own[..., 2][nearest]
    light *= 0.45 / np.percentile(light.mean(axis=-1), 60)
    return ((light / (1 + 0.4 * light)).clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8), distance


def errors(disparity: FloatMap, distance: FloatMap) -> list[float]:
    """Median error and share within 1.25, with a factor and then with a shift as well; the step where columns meet."""
    rows = np.arange(0, len(distance), max(1, len(distance) // 256))
    width = disparity.shape[1]
    picked: list[Any] = []
    for row in rows:  # columns thinned out by the length of the row's circle
        count = max(4, round(math.cos(((row + 0.5) / len(distance) - 0.5) * math.pi) * width / 4))
        picked += [(row, int(column)) for column in np.linspace(0, width, count, endpoint=False)]
    at = tuple(np.array(picked).T)
    d, r = disparity[at].astype(np.float64), distance[at].astype(np.float64)
    known = np.isfinite(r) & (r < REACH_M)
    d, r = d[known], r[known]
    factor = np.median(1 / r / np.maximum(d, 1e-6))
    fitted = np.polynomial.polynomial.polyfit(d, 1 / r, 1)
    found = []
    for inverse in (factor * d, fitted[0] + fitted[1] * d):
        ratio = 1 / np.maximum(inverse, 1 / (2 * REACH_M)) / r
        found += [float(np.median(np.abs(ratio - 1))), float((np.maximum(ratio, 1 / ratio) < 1.25).mean())]
    steps = np.abs(np.diff(disparity, axis=1))
    closing = np.abs(disparity[:, 0] - disparity[:, -1])
    return [*found, float(np.median(closing) / np.median(steps))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default=SCENES, help="KIND:SEED,...")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--refine", choices=choices_of(InferenceOptions, "refine"), default="none")
    parser.add_argument("--assets", type=Path)
    options = parser.parse_args(arguments)
    model = pro.load_model(options.model, device="cpu")
    print("| scene | error | within 1.25 | error with shift | within 1.25 with shift | step |")
    print("|---|---|---|---|---|---|")
    for scene in options.scenes.split(","):
        kind, seed = scene.split(":")
        picture, distance = render(kind, int(seed), options.width, options.assets)
        result = pro.infer_panorama(model, picture, options=InferenceOptions(refine=options.refine))
        print(f"| {scene} | " + " | ".join(f"{value:.3f}" for value in errors(result.disparity, distance)) + " |")


if __name__ == "__main__":
    main()

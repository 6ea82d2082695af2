"""A small scene: a wall with a board before it, seen by cameras side by side, its COLMAP model, and its depth."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from PIL import Image

from pro_engine.io.lens import ColmapLens
from pro_engine.io.reconstruction import Reconstruction, View
from pro_engine.io.scene_files import write_colmap_model
from pro_engine.types import DepthResult, Intrinsics

SIZE = (96, 128)
K = Intrinsics(120.0, 120.0, 63.5, 47.5, 128, 96)
VIEWS = 5


def pose(number: int) -> np.ndarray:
    """Cameras side by side that look at the same place, 4 in front of them."""
    angle = (number - 2) * 0.1
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    center = np.array([0.0, 0.0, 4.0]) - 4 * turn.T @ [0, 0, 1]
    return np.concatenate([turn, (-turn @ center)[:, None]], axis=1)


def true_depth(number: int) -> np.ndarray:
    """A wall at z = 5 of the world, and a board at z = 4 in front of its middle."""
    turn, center = pose(number)[:, :3], -pose(number)[:, :3].T @ pose(number)[:, 3]
    column, row = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    ray = np.stack([(column - K.cx) / K.fx, (row - K.cy) / K.fy, np.ones(SIZE)], axis=-1) @ turn
    wall, board = ((at - center[2]) / ray[..., 2] for at in (5.0, 4.0))
    hit = center + board[..., None] * ray
    return np.where((np.abs(hit[..., 0]) < 0.6) & (np.abs(hit[..., 1]) < 0.5), board, wall)


def texture(number: int) -> np.ndarray:
    """(H, W) grey levels that lie on the surface."""
    x, y = (np.arange(SIZE[1]) - K.cx) / K.fx, (np.arange(SIZE[0]) - K.cy) / K.fy
    rays = np.stack([*np.meshgrid(x, y), np.ones(SIZE)], axis=-1)
    world = (rays * true_depth(number)[..., None] - pose(number)[:, 3]) @ pose(number)[:, :3]
    noise = np.random.default_rng(1).uniform(0, 255, (200, 200)).astype(np.float32)
    place = (world[..., :2] * 20 + 100).astype(np.float32)
    return cv2.remap(noise, place[..., 0], place[..., 1], cv2.INTER_LINEAR)


class KnownDepth:
    """Gives the disparity of the true depth, bent a little, with a scale and shift of its own for each view."""

    full_name, mark, dtype = "known", "0", "float32"
    spec = SimpleNamespace(metric=False)

    def __init__(self) -> None:
        self.seen: list[int] = []

    def infer(self, image, **_options) -> DepthResult:
        number = int(image[0, 0, 0]) // 20
        self.seen.append(number)
        bent = true_depth(number) * (1 + 0.03 * np.sin(np.arange(SIZE[1]) / 20))
        disparity = (1 / bent - 0.02 * number) / (0.2 + 0.1 * number)
        return DepthResult(disparity.astype(np.float32), np.ones(SIZE, dtype=np.bool_))


def write_scene(folder: Path) -> None:
    """Pictures, of which a corner tells the number, and a COLMAP model."""
    rng = np.random.default_rng(0)
    xyz = np.concatenate(
        [rng.uniform((-1.5, -1, 5), (1.5, 1, 5), (150, 3)), rng.uniform((-0.6, -0.5, 4), (0.6, 0.5, 4), (80, 3))]
    )
    views = []
    for number in range(VIEWS):
        there = xyz @ pose(number)[:, :3].T + pose(number)[:, 3]
        pixels = there[:, :2] / there[:, 2:] * (K.fx, K.fy) + (K.cx, K.cy)
        inside = ((pixels > 0) & (pixels < (SIZE[1] - 1, SIZE[0] - 1))).all(axis=1)
        place = np.rint(pixels[inside]).astype(int)
        rows = np.flatnonzero(inside)[np.abs(true_depth(number)[place[:, 1], place[:, 0]] - there[inside, 2]) < 0.1]
        lens = ColmapLens("PINHOLE", (K.fx, K.fy, K.cx + 0.5, K.cy + 0.5), K.width, K.height)
        views.append(View(f"cam/{number}.png", lens, pose(number), pixels[rows], there[rows, 2], rows))
        picture = np.full((*SIZE, 3), 20 * number, dtype=np.uint8)
        picture[10:, :, 1] = texture(number)[10:]
        picture[10:, :, 2] = 200
        (folder / "images/cam").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"images/cam/{number}.png")
    source = Reconstruction(folder, "colmap", tuple(views), xyz, np.full(xyz.shape, 90, dtype=np.uint8))
    write_colmap_model(folder / "sparse/0", source, views, [K] * VIEWS)

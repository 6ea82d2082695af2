"""The lens of a photo from its straight lines: pictures of boxes by cameras that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pro_engine.geometry.vanishing import focal_from_lines

USUAL = 1.0
SIZE = (480, 640)
SIDE_PX = (SIZE[0] * SIZE[1]) ** 0.5


def turned(yaw_deg: float, pitch_deg: float) -> NDArray[np.float64]:
    """Rows are the world's axes as the camera sees them."""
    yaw = cv2.Rodrigues(np.array([0.0, np.radians(yaw_deg), 0.0]))[0]
    pitch = cv2.Rodrigues(np.array([np.radians(pitch_deg), 0.0, 0.0]))[0]
    return np.asarray(pitch @ yaw)


def boxes(focal: float, world: NDArray[np.float64], count: int = 12, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of the edges of boxes; focal: share of the square root of its area."""
    rng = np.random.default_rng(seed)
    image = np.full((*SIZE, 3), 230, np.uint8)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    edges = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1]
    for _ in range(count):
        middle = np.array([rng.uniform(-2, 2) / focal, rng.uniform(-1.5, 1.5) / focal, 5])
        points = ((corners - 0.5) * rng.uniform(0.8, 2, 3)) @ world.T + middle
        pixels = points[:, :2] / points[:, 2:] * focal * SIDE_PX + (SIZE[1] / 2, SIZE[0] / 2)
        shade = tuple(map(int, rng.integers(0, 120, 3)))
        for a, b in edges:
            ends = (np.round(pixels[end] * 16).astype(int) for end in (a, b))
            cv2.line(image, *(tuple(map(int, end)) for end in ends), shade, 2, cv2.LINE_AA, shift=4)
    return image


@pytest.mark.parametrize("focal", [0.6, 0.9, 1.5])
@pytest.mark.parametrize("pose", [(35, 0), (-25, 20), (50, -15)])
def test_lines_in_three_directions_tell_the_focal_length(focal: float, pose: tuple[float, float]) -> None:
    found = focal_from_lines(boxes(focal, turned(*pose)), USUAL)
    assert found == pytest.approx(focal, rel=0.08)


def test_the_size_of_the_photo_does_not_matter() -> None:
    image = boxes(0.7, turned(35, 10))
    large = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert focal_from_lines(large, USUAL) == pytest.approx(focal_from_lines(image, USUAL), rel=0.05)


def test_seen_from_straight_ahead_boxes_tell_nothing() -> None:
    """Two of the three directions are parallel in the picture, so every focal length explains it."""
    assert focal_from_lines(boxes(0.6, turned(0, 0)), USUAL) == pytest.approx(USUAL, rel=0.06)


def test_without_lines_the_usual_lens_remains() -> None:
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3)).astype(np.float32), (0, 0), 20)
    for image in (np.zeros((*SIZE, 3), np.uint8), blobs.astype(np.uint8), np.zeros((32, 32, 3), np.uint8)):
        assert focal_from_lines(image, 1.3) == 1.3


def test_lines_in_any_direction_change_little() -> None:
    rng = np.random.default_rng(1)
    image = np.full((*SIZE, 3), 255, np.uint8)
    for _ in range(60):
        ends = [tuple(map(int, rng.integers(0, SIZE[::-1]))) for _ in range(2)]
        cv2.line(image, *ends, (0, 0, 0), 2, cv2.LINE_AA)
    assert focal_from_lines(image, USUAL) == pytest.approx(USUAL, rel=0.25)

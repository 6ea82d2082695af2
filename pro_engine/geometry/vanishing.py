"""The lens of a photo from its straight lines.

Edges of buildings, rooms and furniture run in three directions at right angles (the "Manhattan world" of Coughlan and
Yuille 1999), and lines of one direction meet in the picture in a vanishing point. Two vanishing points of directions at
right angles tell the focal length: v1 . v2 = -f^2, the principal point being the origin.

Segments are those of LSD (Grompone von Gioi et al. 2010), by OpenCV. For each focal length of a grid that frame of
three directions is looked for which explains most of their length. How much it explains is the evidence for that focal
length. Where lines are few, run in one direction, or are parallel in the picture, the evidence is alike for all of
them, and the usual lens remains.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.types import ImageArray

SPREAD = 0.2
"""Standard deviation of the logarithms of the focal lengths of cameras around a usual one."""
CHANCE = 0.05
"""That lines mislead: then they say nothing."""
_LOG_FOCALS = np.linspace(math.log(0.45), math.log(3.2), 29)
_SIDE, _MOST_ENLARGED = 750, 1.75
_LEAST_LENGTH, _MOST_SEGMENTS, _FEWEST_SEGMENTS = 0.03, 250, 8
_ANGLE, _END = math.radians(1.2), 0.0012  # how far off a segment's direction is, and each of its ends
_PAIRS, _POINTS = 600, 24
_DRAWS = 2  # of pairs; their mean is taken, as which points are found is a matter of luck
_TAKEN = 0.7  # of the segments that a vanishing point explains, before the next one is chosen
_LEAST_SHARE = 0.02
_ALMOST_RIGHT = 0.35  # cosine of the angle between two directions, from which on they are not made a right angle
_ROLL, _MOST_ROLL = 0.05, math.radians(10)  # most cameras are level: what a roll of that size costs
_WEIGHT = 0.6  # of a segment as evidence, as they are not independent of each other

Numbers = NDArray[np.float64]


def focal_from_lines(image: ImageArray, usual: float) -> float:
    """The focal length of a photo whose principal point is its middle, as far as its lines tell it.

    Args:
        image: (H, W, 3) uint8 RGB.
        usual: the focal length that is likely without them, as a share of the square root of the photo's area.

    Returns:
        The mean of the logarithm, given the lines, as such a share; `usual`, or close to it, where they tell nothing.
    """
    prior = np.exp(-0.5 * ((_LOG_FOCALS - math.log(usual)) / SPREAD) ** 2)
    prior /= prior.sum()
    segments = _segments(image)
    explained, weight = _explained(segments) if len(segments) >= _FEWEST_SEGMENTS else (None, 0.0)
    if explained is None:
        return usual
    odds = np.exp(weight * (explained - explained.max()))
    after = prior * ((1 - CHANCE) * odds / (odds @ prior) + CHANCE)
    return math.exp(float((after - prior) @ _LOG_FOCALS) + math.log(usual))


def _segments(image: ImageArray) -> Numbers:
    """(N, 4) x, y of both ends of the longest segments, from the middle, as shares of the square root of the area."""
    height, width = image.shape[:2]
    zoom = min(_SIDE / math.sqrt(height * width), _MOST_ENLARGED)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    seen = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    grey = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(grey)[0]
    if found is None:
        return np.zeros((0, 4))
    middle = np.array([size[0] - 1, size[1] - 1] * 2) / 2
    segments = (np.asarray(found, np.float64).reshape(-1, 4) - middle) / math.sqrt(size[0] * size[1])
    lengths = _lengths(segments)
    longest = np.argsort(-lengths, kind="stable")[:_MOST_SEGMENTS]
    return np.asarray(segments[longest[lengths[longest] > _LEAST_LENGTH]])


def _explained(segments: Numbers) -> tuple[Numbers | None, float]:
    """The share of the segments' length that a frame of three directions explains at best, for each of `_LOG_FOCALS`,
    and how much of it counts as evidence; None without two vanishing points."""
    lengths = _lengths(segments)
    share = lengths / lengths.sum()
    draws = (_best_frames(segments, share, _vanishing_points(segments, share, seed)) for seed in range(_DRAWS))
    found = [best for best in draws if best.any()]
    return np.mean(found, 0) if found else None, _WEIGHT / float((share**2).sum())


def _best_frames(segments: Numbers, share: Numbers, points: Numbers) -> Numbers:
    """See `_explained`; points (K, 3): the vanishing points. 0 where no two of them are at right angles."""
    first, second = np.nonzero(~np.eye(len(points), dtype=bool))
    best = np.zeros(len(_LOG_FOCALS))
    for number, focal in enumerate(np.exp(_LOG_FOCALS)):
        directions = points * (1, 1, focal)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        cosine = np.einsum("ij,ij->i", directions[first], directions[second])
        near = np.abs(cosine) < _ALMOST_RIGHT
        if not near.any():
            continue
        one = directions[first[near]]
        other = directions[second[near]] - cosine[near, None] * one
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        frames = np.stack([one, other, np.cross(one, other)], 1)  # (M, 3 directions, xyz)
        fits = _fits(frames / (1, 1, focal), segments).max(1)  # (M, N)
        best[number] = (fits @ share - _ROLL * _rolled(frames)).max()
    return best


def _vanishing_points(segments: Numbers, share: Numbers, seed: int) -> Numbers:
    """(K, 3) homogeneous points of the picture which many segments point to, and that of all that is upright."""
    ends = np.ones((2, len(segments), 3))
    ends[0, :, :2], ends[1, :, :2] = segments[:, :2], segments[:, 2:]
    lines = np.cross(ends[0], ends[1])
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    one, other = (rng.choice(len(segments), _PAIRS, p=share) for _ in range(2))
    points = np.cross(lines[one], lines[other])
    sizes = np.linalg.norm(points, axis=1, keepdims=True)
    points = (points / np.maximum(sizes, 1e-12))[sizes[:, 0] > 1e-9]
    fits = _fits(points, segments)
    chosen, left = [np.array([0.0, 1.0, 0.0])], share.copy()
    for _ in range(_POINTS):
        scores = fits @ left
        at = int(scores.argmax()) if len(scores) else -1
        if at < 0 or scores[at] < _LEAST_SHARE:
            break
        weighted = lines * (fits[at] * share)[:, None]
        chosen.append(np.linalg.eigh(weighted.T @ lines)[1][:, 0])  # where those that fit meet
        left *= 1 - _TAKEN * fits[at]
    return np.array(chosen)


def _fits(points: Numbers, segments: Numbers) -> NDArray[np.float32]:
    """(..., 3) homogeneous points, (N, 4) -> (..., N) how well each segment points to each, from 0 to 1."""
    points, segments = points.astype(np.float32), segments.astype(np.float32)  # most of the time is spent here
    middles, along = (segments[:, :2] + segments[:, 2:]) / 2, segments[:, 2:] - segments[:, :2]
    x = points[..., 0, None] - middles[:, 0] * points[..., 2, None]
    y = points[..., 1, None] - middles[:, 1] * points[..., 2, None]
    lengths = _lengths(segments)
    sine = (x * along[:, 1] - y * along[:, 0]) / (np.sqrt(x * x + y * y) + 1e-12) / lengths
    return np.asarray(np.exp(-0.5 * sine * sine / (_ANGLE**2 + (_END / lengths) ** 2)))


def _rolled(frames: Numbers) -> Numbers:
    """(M, 3, 3) -> (M), how far the direction that is most upright in the picture leans: 1 is `_MOST_ROLL` or more, and
    less where the camera looks along it."""
    upright = frames[np.arange(len(frames)), np.abs(frames[:, :, 1]).argmax(1)]
    across = np.hypot(upright[:, 0], upright[:, 1])
    roll = np.arcsin(np.abs(upright[:, 0]) / np.maximum(across, 1e-12))
    return np.asarray(np.minimum(roll / _MOST_ROLL, 1) * across)


def _lengths(segments: Numbers) -> Numbers:
    return np.asarray(np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1]))

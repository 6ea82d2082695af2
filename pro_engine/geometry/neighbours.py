"""How much of the errors at measured points belongs to the map, and how much to the points themselves.

The error of a map at a point that was held out is that of the map and that of the point. Residuals of a track do not
tell the latter: a feature that lies off the surface lies there for all views. But the map's error changes little from
one point to the next on a surface, while points have theirs each for itself, so the correlation of errors at
neighbouring points is the map's share of their variance (what geostatistics calls the nugget is the rest: Cressie,
Statistics for Spatial Data, 3.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.int64]

NEAREST = 0.008  # of the longer side: features that are nearer look at the same pixels, and err together
REACH = 0.02  # of the longer side, up to which the map's error is much the same
CHUNK = 500  # points that are compared with all of their fold at a time
SURFACE = 0.01  # of the logarithm of depth, up to which neighbours lie on one surface


def shared_error(errors: Vector, uv: Vector, log_depth: Vector, folds: Indices) -> tuple[float, int]:
    """The correlation of the errors of neighbouring points, from -1 to 1, and of how many pairs it is; 0 of none.

    It is robust: of medians of sums and differences (Gnanadesikan and Kettenring, Biometrics 28, 1972).

    Args:
        errors: (N,) relative errors at points, each from a fit without the points of its fold.
        uv: (N, 2) places in the picture, in longer sides of it.
        log_depth: (N,) of the points.
        folds: (N,) which points were held out together. Only these are compared: the fit of one has not seen the other.
    """
    first, second = _pairs(uv, log_depth, folds)
    total = float(np.median(np.abs(errors[first] + errors[second]))) ** 2 if len(first) else 0.0
    apart = float(np.median(np.abs(errors[first] - errors[second]))) ** 2 if len(first) else 0.0
    return (total - apart) / (total + apart) if total + apart > 0 else 0.0, len(first)


def _pairs(uv: Vector, log_depth: Vector, folds: Indices) -> tuple[Indices, Indices]:
    """Each point that has a neighbour, and the nearest one, by their rows."""
    firsts, seconds = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            apart = np.hypot(*(uv[some, None] - uv[None, rows]).transpose(2, 0, 1))  # (C, R)
            level = np.abs(log_depth[some, None] - log_depth[None, rows]) < SURFACE
            apart[(apart < NEAREST) | (apart > REACH) | ~level] = np.inf
            nearest = apart.argmin(axis=1)
            has = np.isfinite(apart[np.arange(len(some)), nearest])
            firsts.append(some[has])
            seconds.append(rows[nearest[has]])
    return np.concatenate(firsts), np.concatenate(seconds)

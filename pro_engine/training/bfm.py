"""Bias Free Masking (arXiv 2503.22351): pixels whose label Ψ contradicts do not teach the refiner, except along edges
that both see. Labels of computer-made data are wrong in ways that Ψ, trained on much else, is not: a pane of glass has
the depth of its surface or of what lies behind it, whichever the renderer happened to write.

    unreliable = max(D / D*, D* / D) > 2             D: Ψ's disparity fitted to the label D* by least squares
    edges      = depth ratio of neighbours > 1.05 in the label, > 1.25 in the fitted Ψ, then dilated
    mask       = known label and (not unreliable or (label edge and Ψ edge))

What the paper leaves open is decided like this:

- The grid is Ψ's: the whole picture as Ψ sees it. The label is picked at the centres of its cells; label edges are
  found between the label's own pixels, and a cell with any of them is an edge.
- The fit takes every known pixel, sky (disparity 0) included. Where D is not above 0 no ratio is defined: a surface
  there is unreliable, and between neighbours only the step from above 0 to it is an edge.
- Sky has no ratio either, and would be unreliable wherever Ψ is not exactly 0. It is reliable where the fit lies at
  most half a mean absolute deviation of the label, the unit in which the losses measure, above 0.
- Kernels are squares; their side is drawn for each edge map and each sample from 10 to 20 cells of a Ψ of 518 x 518,
  and less on a smaller grid. The maps before dilation are what is kept on disk, so the drawing stays random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMap = NDArray[np.bool_]
FloatMap = NDArray[np.float32]


@dataclass(frozen=True)
class BfmSettings:
    """The numbers of the module docstring; `kernels` in cells of a square grid of `kernel_side`, both ends possible."""

    consistency: float = 2.0
    label_edge: float = 1.05
    psi_edge: float = 1.25
    kernels: tuple[int, int] = (10, 20)
    kernel_side: int = 518
    sky_deviations: float = 0.5


class BfmMaps(NamedTuple):
    """What a mask is drawn from, each (h, w) bool on the grid of Ψ; `known` is where the label is valid."""

    known: BoolMap
    unreliable: BoolMap
    label_edges: BoolMap
    psi_edges: BoolMap


def fit_to_label(disparity: FloatMap, label: FloatMap, known: BoolMap) -> FloatMap:
    """scale * disparity + shift, closest to the label in squares over the known pixels; all maps (h, w).

    Of a constant disparity the result is the label's mean; without a known pixel it is 0.
    """
    d, goal = disparity[known].astype(np.float64), label[known].astype(np.float64)
    if d.size == 0:
        return np.zeros_like(label)
    spread = np.square(d - d.mean()).mean()
    covariance = ((d - d.mean()) * (goal - goal.mean())).mean()
    scale = covariance / spread if spread > 0 else 0.0
    return (scale * (disparity - d.mean()) + goal.mean()).astype(np.float32)


def unreliable(fitted: FloatMap, label: FloatMap, known: BoolMap, settings: BfmSettings) -> BoolMap:
    """Where label (0 for sky) and fitted Ψ contradict each other; (h, w) bool, True where the label is not known."""
    limit = settings.consistency
    agree = (fitted > 0) & (label > 0) & (fitted <= limit * label) & (label <= limit * fitted)
    values = label[known]
    deviation = float(np.abs(values - np.median(values)).mean()) if values.size else 0.0
    agree |= (label == 0) & (fitted <= settings.sky_deviations * deviation)
    return ~(agree & known)


def find_edges(disparity: FloatMap, ratio: float, known: BoolMap) -> BoolMap:
    """Both pixels of every pair of neighbours (side by side or one above the other) whose depths have a larger ratio.

    disparity (h, w); not above 0 means infinitely far, which is an edge beside anything nearer. Pairs with an unknown
    pixel are none.
    """
    d = np.maximum(disparity, 0)
    found = np.zeros(d.shape, dtype=bool)
    for before, after in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        far, near = np.minimum(d[before], d[after]), np.maximum(d[before], d[after])
        step = (near > ratio * far) & known[before] & known[after]
        found[before] |= step
        found[after] |= step
    return found


def bfm_maps(psi_disparity: FloatMap, label: FloatMap, valid: BoolMap, settings: BfmSettings) -> BfmMaps:
    """The maps of one picture.

    Args:
        psi_disparity: (h, w), what Ψ says of the whole picture.
        label: (H, W) disparity of the same picture at any size, 0 for sky; valid: (H, W), where it is known.
    """
    h, w = psi_disparity.shape
    grid = np.ix_(nearest_cells(0, 1, h, label.shape[0]), nearest_cells(0, 1, w, label.shape[1]))
    coarse, known = label[grid], valid[grid]
    fitted = fit_to_label(psi_disparity, coarse, known)
    label_edges = find_edges(label, settings.label_edge, valid).astype(np.float32)
    return BfmMaps(
        known,
        unreliable(fitted, coarse, known, settings),
        np.asarray(cv2.resize(label_edges, (w, h), interpolation=cv2.INTER_AREA)) > 0,
        find_edges(fitted, settings.psi_edge, np.ones_like(known)),
    )


def draw_mask(maps: BfmMaps, settings: BfmSettings, rng: np.random.Generator) -> BoolMap:
    """The mask M of one sample, (h, w) on the grid of Ψ."""
    common = _dilate(maps.label_edges, settings, rng) & _dilate(maps.psi_edges, settings, rng)
    return maps.known & (~maps.unreliable | common)


def nearest_cells(start: float, stop: float, count: int, cells: int) -> NDArray[np.intp]:
    """Which of `cells` cells over [0, 1] hold the centres of `count` pixels over [start, stop]."""
    centres = start + (stop - start) * (np.arange(count) + 0.5) / count
    return np.clip((centres * cells).astype(np.intp), 0, cells - 1)


def _dilate(edges: BoolMap, settings: BfmSettings, rng: np.random.Generator) -> BoolMap:
    h, w = edges.shape
    low, high = settings.kernels
    side = rng.integers(low, high, endpoint=True) * (h * w) ** 0.5 / settings.kernel_side
    kernel = np.ones((max(round(side), 1),) * 2, np.uint8)
    return np.asarray(cv2.dilate(edges.astype(np.uint8), kernel)) > 0

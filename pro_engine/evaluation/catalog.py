"""Every figure of a report: what it is called, whether more of it is better, and what it says, in one line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A column of the report. higher: whether larger is better, None where neither is; averaged: whether a mean over
    groups means something (not where groups may have different units)."""

    title: str
    text: str
    higher: bool | None
    digits: int = 3
    averaged: bool = True


SCORES: dict[str, Figure] = {
    "absrel": Figure("AbsRel", "mean relative error of the depth", False),
    "delta1": Figure("δ1", "share of pixels whose depth is within a factor of 1.25", True),
    "delta2": Figure("δ2", "the same within 1.25²", True),
    "delta3": Figure("δ3", "the same within 1.25³", True),
    "rmse": Figure("RMSE", "root mean square error of the depth, in the unit of the truth", False, 4, averaged=False),
    "log10": Figure("log10", "mean error of the decimal logarithm of the depth", False),
    "silog": Figure("SILog", "spread of the error of the natural logarithm, times 100", False, 2),
    "r2": Figure("R²", "explained variance of the disparity: 0 is as good as a constant", True),
    "d3r": Figure("D3R", "wrong order of neighbouring regions at different depths, 0 to 2", False),
    "boundary_f1": Figure("F1", "depth contours at exactly the right pixels, thresholds 5 % to 25 %", True),
    "edge_recall": Figure("bR", "share of true depth edges with a predicted one within 2 pixels", True),
    "edge_precision": Figure("bP", "share of predicted depth edges with a true one within 2 pixels", True),
    "soft_recall": Figure("sR", "share of true depth edges where the map changes at all within 5 x 5 pixels", True),
    "matte_boundary_recall": Figure("BR", "share of a matte's outline at exactly the right pixels", True),
    "matte_recall": Figure("mR", "share of a matte's outline with a step of the map within 2 pixels", True),
    "matte_precision": Figure("mP", "share of the map's steps near a matte's outline within 2 pixels of it", True),
    "transparent_absrel": Figure("glass", "AbsRel on transparent surfaces alone", False),
}
"""Figures that compare a map with the truth, in the order of the report."""

RUN_FIGURES: dict[str, Figure] = {
    "ce": Figure("CE", "change of the map when all patches move by half a patch, over its deviation", False, 4),
    "seam_ratio": Figure("seams", "jump across patch borders over that across their middles; 1 is no seam", False, 2),
    "seconds": Figure("s", "seconds of inference", None, 2),
    "peak_memory_mib": Figure("MiB", "most memory the process has held so far", None, 0),
    "peak_device_mib": Figure("GPU MiB", "most GPU memory of this inference", None, 0),
}
"""Figures of the refined map and of making it."""

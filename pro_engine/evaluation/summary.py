"""The means of a run: by group, over all items, and over groups, so that large groups do not outweigh small ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pro_engine
from pro_engine.evaluation.catalog import RUN_FIGURES, SCORES
from pro_engine.evaluation.run import ItemReport, SkippedItem
from pro_engine.evaluation.scores import Scores, mean_scores

_IN_GROUPS_ONLY = [name for name, figure in SCORES.items() if not figure.averaged]
_NEVER = [name for name in RUN_FIGURES if name.startswith("peak")]


@dataclass(frozen=True)
class Row:
    """Means over `count` items (or groups), each over those that have the score."""

    label: str
    count: int
    refined: Scores
    coarse: Scores
    run: Scores


@dataclass(frozen=True)
class EvalReport:
    """All of a run. `about` says what was run on what, in plain values; stopped: the user broke it off."""

    about: dict[str, Any]
    items: tuple[ItemReport, ...]
    skipped: tuple[SkippedItem, ...]
    stopped: bool = False
    version: str = field(default_factory=lambda: pro_engine.__version__)

    def rows(self) -> list[Row]:
        """Means by group in alphabetical order; then, with several groups, over all items and over groups, and the same
        for real items alone where there are rendered ones too.

        A mean over groups is the plain mean of their means. RMSE is left out of everything but groups, since their
        units may differ.
        """
        rows = _groups(self.items)
        if len(rows) < 2:
            return rows
        real = [item for item in self.items if item.real]
        for kind, items in (("all", self.items), ("real", real)):
            if kind == "real" and len(real) in (0, len(self.items)):
                continue
            rows.append(_mean_row(f"{kind} items", items, _IN_GROUPS_ONLY))
            rows.append(_mean_row(f"{kind} groups", _groups(items), _IN_GROUPS_ONLY))
        return rows

    def seams(self) -> dict[str, float]:
        """`pictures` with patch borders, `ratio_total` = sum of border jumps / sum of jumps across patch middles over
        these pictures, and `ratio_median` of the pictures' own ratios; empty without such pictures."""
        jumps = [item.seams for item in self.items if item.seams is not None]
        if not jumps:
            return {}
        total = sum(jump.border for jump in jumps) / sum(jump.middle for jump in jumps)
        median = float(np.median([jump.ratio for jump in jumps]))
        return {"pictures": len(jumps), "ratio_total": total, "ratio_median": median}


def _groups(items: Sequence[ItemReport]) -> list[Row]:
    found: dict[tuple[str, str], list[ItemReport]] = {}
    for item in items:
        found.setdefault((item.dataset, item.group), []).append(item)
    return [_mean_row(f"{dataset} / {group}", members, []) for (dataset, group), members in sorted(found.items())]


def _mean_row(label: str, members: Sequence[ItemReport] | Sequence[Row], leave_out: Sequence[str]) -> Row:
    return Row(
        label,
        len(members),
        mean_scores([member.refined for member in members], leave_out),
        mean_scores([member.coarse for member in members], leave_out),
        mean_scores([member.run for member in members], _NEVER),
    )

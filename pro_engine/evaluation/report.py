"""A finished run as files: report.json for programs, index.html for people."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from pro_engine.evaluation.catalog import RUN_FIGURES, SCORES
from pro_engine.evaluation.page import make_page
from pro_engine.evaluation.run import ItemReport
from pro_engine.evaluation.summary import EvalReport
from pro_engine.io.atomic import atomic_path

JSON_NAME, PAGE_NAME = "report.json", "index.html"
_VERSION = 1


def save_report(folder: Path, report: EvalReport) -> tuple[Path, Path]:
    """Write report.json and index.html into a folder (made if missing), each as a whole or not at all.

    Returns:
        Both paths.

    Raises:
        FileError: the system refuses.
    """
    data, page = folder / JSON_NAME, folder / PAGE_NAME
    text = json.dumps(report_as_dict(report), indent=1, ensure_ascii=False, allow_nan=False)
    for path, content in ((data, text), (page, make_page(report))):
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return data, page


def report_as_dict(report: EvalReport) -> dict[str, Any]:
    """The report as plain values for JSON, numbers unrounded; a score that an item does not have is left out.

    `figures` says what every score is; `summary` are the rows of `EvalReport.rows`.
    """
    figures = {**SCORES, **RUN_FIGURES}
    return _plain(
        {
            "pro_engine_eval": _VERSION,
            "version": report.version,
            "about": report.about,
            "stopped": report.stopped,
            "figures": {name: {"text": f.text, "higher_is_better": f.higher} for name, f in figures.items()},
            "summary": [dataclasses.asdict(row) for row in report.rows()],
            "seams": report.seams(),
            "items": [_item(item) for item in report.items],
            "skipped": [dataclasses.asdict(skipped) for skipped in report.skipped],
        }
    )


def _item(item: ItemReport) -> dict[str, Any]:
    fields = dataclasses.asdict(dataclasses.replace(item, panels=()))
    del fields["panels"]
    return {**fields, "seams": None if item.seams is None else item.seams._asdict()}


def _plain(value: Any) -> Any:
    """`value` without NaN and infinity, which JSON does not know: they become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

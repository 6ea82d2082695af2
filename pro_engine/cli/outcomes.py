"""What `pro-engine infer` tells of the outcomes of a job, as they come and at the end."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pro_engine.cli.output import complain, say
from pro_engine.jobs.photos import Failure, Photo, Video
from pro_engine.jobs.report import PhotoReport, VideoReport

Outcome = PhotoReport | Failure | VideoReport


class Told:
    """The outcomes of a job so far, each told as it comes: results on stdout, complaints and notes on stderr.

    Args:
        photos: all of the job, in order. failures: what gave no photo at all; it is told at once.
        as_json: nothing but `to_json` shall go to stdout.
    """

    def __init__(self, photos: Sequence[Photo | Video], failures: Sequence[Failure], *, as_json: bool) -> None:
        self.reports: list[PhotoReport] = []
        self.failures: list[Failure] = []
        self._videos: list[VideoReport] = []
        self._places = {photo: place for place, photo in enumerate(photos, 1)}
        self._as_json = as_json
        self._noted: set[str] = set()
        self._video: tuple[Video, int | None] | None = None
        for failure in failures:
            self.add(failure)

    def progress(
        self, show: Callable[[str, int, int | None], None], photo: Photo | Video, done: int, total: int | None
    ) -> None:
        """Show how far a photo is, or a video in frames."""
        self._video = (photo, total) if isinstance(photo, Video) else None
        show(f"{self._places[photo]}/{len(self._places)} {photo.path.name}", done, total)

    def add(self, outcome: Outcome) -> None:
        """Take the next outcome and tell it; what is noted of a model, or of every frame of a video, is told once."""
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            complain(outcome.input, outcome.error)
            return
        of_model = outcome.of_model if isinstance(outcome, PhotoReport) else ()
        for warning in outcome.warnings:
            note = warning if warning in of_model else f"{outcome.input}: {warning}"
            if note not in self._noted:
                print(f"note: {note}", file=sys.stderr)
            self._noted.add(note)
        if isinstance(outcome, PhotoReport):
            self.reports.append(outcome)
        else:
            self._videos.append(outcome)
            self._video = None
        if not self._as_json:
            say(_line(outcome))

    def how_far(self) -> str:
        """How much of the job is done, in a sentence."""
        done = sum(report.frame is None for report in self.reports) + len(self._videos)
        if self._video is None:
            return f"{done} of {len(self._places)} photos are done."
        video, expected = self._video
        frames = max([0, *(report.frame or 0 for report in self.reports if report.input == str(video.path))])
        rest = f", and {done} of {len(self._places)} photos and videos" if len(self._places) > 1 else ""
        return f"{frames} of {expected or 'all'} frames of {video.path.name} are done{rest}."

    def to_json(self) -> dict[str, Any]:
        """What is told of the outcomes, as docs/json.md describes it."""
        return {
            "results": [report.to_json() for report in self.reports],
            "videos": [report.to_json() for report in self._videos],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


def _line(report: PhotoReport | VideoReport) -> str:
    """A line on what is done."""
    names = ", ".join(Path(out["path"]).name for out in report.outputs)
    if isinstance(report, VideoReport):
        return f"{report.input}: {report.frames} frames, {report.seconds:.1f} s{names and f' -> {names}'}"
    what = report.input if report.frame is None else f"{report.input}, frame {report.frame}"
    if report.skipped:
        return f"{what}: skipped, its results are there already"
    rows, cols = report.tiles
    sources = ""
    if report.scale is not None and report.lens is not None:
        sources = f", scale {report.scale['source']}, lens {report.lens['source']}"
    seconds = f"{report.seconds:.1f} s"
    return f"{what}: {report.width}x{report.height}, {rows}x{cols} patches{sources}, {seconds} -> {names}"

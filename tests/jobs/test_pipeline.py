"""Photos of a job are read, inferred and written at the same time, in their order and no further than needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import write_photo

from pro_engine.errors import CancelledError
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.pipeline import attempt_all
from pro_engine.jobs.report import PhotoReport

PATIENCE_S = 60.0


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return [Photo(write_photo(tmp_path / "in" / f"{n}.png"), str(n)) for n in range(5)]


def test_while_one_is_written_the_next_are_inferred_and_read(tiny, photos, tmp_path, monkeypatch):
    """Each photo is written only once the second one behind it was read: one after the other this would never end."""
    read = {photo.name: threading.Event() for photo in photos}
    seen: list[int] = []
    real_read, real_write = PhotoJob.read, PhotoJob.write

    def reading(self: PhotoJob, photo: Photo, *arguments: Any, **options: Any) -> Any:
        read[photo.name].set()
        return real_read(self, photo, *arguments, **options)

    def writing(self: PhotoJob, made: Any, *arguments: Any, **options: Any) -> Any:
        behind = read.get(str(int(made.work.photo.name) + 2))
        assert behind is None or behind.wait(PATIENCE_S)
        seen.append(sum(event.is_set() for event in read.values()))
        return real_write(self, made, *arguments, **options)

    monkeypatch.setattr(PhotoJob, "read", reading)
    monkeypatch.setattr(PhotoJob, "write", writing)
    found = list(attempt_all(photos, PhotoJob(tmp_path), tiny.predictor(), strict=True))
    assert [photo for photo, _ in found] == photos and all(isinstance(one, PhotoReport) for _, one in found)
    assert max(n - place for place, n in enumerate(seen)) <= 4, "no photo is read before it is needed"


def test_what_is_told_of_the_model_is_told_of_every_photo_and_marked(tiny, photos, tmp_path):
    predictor = tiny.predictor()
    predictor.notes = ("It is slow.",)
    for _, outcome in attempt_all(photos[:2], PhotoJob(tmp_path), predictor):
        assert outcome.of_model == {"It is slow."} < {*outcome.warnings, "more"}
        assert "of_model" not in outcome.to_json() and "It is slow." in outcome.to_json()["warnings"]


def test_memory_of_large_pictures_is_given_back_once_read_and_once_inferred(tiny, photos, tmp_path, monkeypatch):
    given: list[str] = []
    monkeypatch.setattr("pro_engine.jobs.pipeline.give_memory_back", lambda: given.append("back"))
    list(attempt_all(photos, PhotoJob(tmp_path), tiny.predictor()))
    assert not given
    monkeypatch.setattr("pro_engine.jobs.pipeline._LARGE_VALUES", 100)
    list(attempt_all(photos, PhotoJob(tmp_path / "large"), tiny.predictor()))
    assert len(given) == 2 * len(photos)


def test_failures_keep_their_place(tiny, photos, tmp_path):
    photos[1].path.write_bytes(b"no picture")
    photos[3].path.unlink()
    found = [outcome for _, outcome in attempt_all(photos, PhotoJob(tmp_path), tiny.predictor())]
    assert [isinstance(one, Failure) for one in found] == [False, True, False, True, False]


def test_progress_that_stops_comes_after_the_outcomes_before_it(tiny, photos, tmp_path):
    def progress(photo: Photo, done: int, total: int) -> bool:
        return photo is not photos[2]

    found = attempt_all(photos, PhotoJob(tmp_path), tiny.predictor(), progress=progress)
    assert [next(found)[0], next(found)[0]] == photos[:2]
    with pytest.raises(CancelledError, match=r"2\.png"):
        next(found)


def test_what_ends_the_job_breaks_off_a_long_pass(tiny, photos, tmp_path, monkeypatch):
    begun, broken_off, threads = threading.Event(), threading.Event(), threading.active_count()
    predictor = tiny.predictor()
    real = predictor.infer
    calls: Iterator[int] = iter(range(9))

    def infer(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 0:
            return real(*arguments, **options)
        begun.set()
        try:
            for _ in range(int(PATIENCE_S * 100)):
                time.sleep(0.01)
        except CancelledError:
            broken_off.set()
            raise

    monkeypatch.setattr(predictor, "infer", infer)
    found = attempt_all(photos, PhotoJob(tmp_path), predictor)
    next(found)
    assert begun.wait(PATIENCE_S)
    found.close()
    assert broken_off.is_set() and threading.active_count() == threads

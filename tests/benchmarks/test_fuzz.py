"""Damaged files through the readers: a sample of `benchmarks/fuzz_files.py`, and that it tells right from wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("the peak of memory is read from /proc", allow_module_level=True)

import fuzz_files
from fuzz_files import Case, Outcome, Reader, Seeds, cases_of, read, report, run
from fuzz_seeds import HEIGHT, WIDTH, depth_seeds, photo_seeds
from fuzz_sizes import claimed_sizes

from pro_engine.errors import FileError


def test_damaged_files_are_read_right_or_refused(tmp_path: Path) -> None:
    outcomes = run(cases_of(seed=7, photos=200, depths=100), tmp_path, workers=2)
    assert len(outcomes) == 300
    assert [f"{case}: {outcome.fault}" for case, outcome in outcomes.items() if outcome.fault] == []
    were_read = sum(outcome.was_read for outcome in outcomes.values())
    assert 30 < were_read < 270  # neither is the damage harmless nor all of it fatal


def test_every_good_file_is_read_in_a_size_that_it_claims(tmp_path: Path) -> None:
    for group, seeds in (("photos", photo_seeds()), ("depths", depth_seeds())):
        (tmp_path / group).mkdir()
        for seed in seeds:
            path = tmp_path / group / f"a{seed.suffix}"
            path.write_bytes(seed.data)
            if seed.kind == "exr deep":
                with pytest.raises(FileError, match="deep"):
                    read(path)
                continue
            height, width = read(path).shape[:2]
            assert (width, height) in claimed_sizes(seed.data, seed.suffix), seed.kind
            assert {width, height} <= {WIDTH, HEIGHT, WIDTH + 1, HEIGHT + 1, WIDTH - 1, HEIGHT - 1}, seed.kind


def test_a_case_is_the_same_again() -> None:
    cases = cases_of(seed=3, photos=60, depths=30)
    first, second = Seeds(), Seeds()
    assert [first.damaged(case) for case in cases] == [second.damaged(case) for case in cases]
    assert [first.damaged(case) for case in cases] != [second.damaged(Case(4, c.group, c.number)) for c in cases]


def refusal(text: str) -> Callable[[Path], Any]:
    def refused(path: Path) -> Any:
        raise FileError(text.format(path))

    return refused


@pytest.mark.parametrize(
    ("reader", "peak_bytes", "fault"),
    [
        (lambda _: np.zeros((3, 5, 3), np.uint8), 0, "read as 5 x 3, but its headers say"),
        (lambda _: 1 // 0, 0, "ZeroDivisionError"),
        (lambda _: print("x", flush=True), 0, "printed on the standard output"),
        (refusal("It is bad."), 0, "refused with 'It is bad.'"),
        (refusal("{} is bad\nand worse."), 0, "refused with"),
        (refusal("{} is bad; copy it."), 0, ""),
        (refusal("{} is bad; copy it."), 900_000_000, "900 MB for 0.0 megapixels"),
    ],
)
def test_faults_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    reader: Callable[[Path], Any],
    peak_bytes: int,
    fault: str,
) -> None:
    monkeypatch.setattr(fuzz_files, "read", reader)
    monkeypatch.setattr(fuzz_files, "_peak_bytes", lambda: peak_bytes)
    found = Reader(tmp_path).check(Case(1, "photos", 0)).fault
    assert found.startswith(fault) and bool(found) == bool(fault)


def test_a_file_that_is_read_though_it_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with its values, or with others."""
    seed = photo_seeds()[0]
    monkeypatch.setattr(Seeds, "damaged", lambda self, case: (seed, True))
    reader, case = Reader(tmp_path), Case(1, "photos", 0)
    assert "cut short" not in reader.check(case).fault
    monkeypatch.setattr(fuzz_files, "read", lambda _: np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert reader.check(case).fault == "cut short, but read, with other values"


def test_a_worker_that_dies_is_a_fault_and_the_others_go_on(tmp_path: Path) -> None:
    """No generator has a seed below 0."""
    cases = [Case(1, "photos", number) for number in (-1, 0, 1)]
    outcomes = run(cases, tmp_path, workers=1)
    assert [outcomes[case].fault for case in cases] == ["ended with exit code 1", "", ""]


def test_the_report_counts_and_names_the_faults() -> None:
    outcomes = {
        Case(1, "photos", 0): Outcome("png", was_read=True, seconds=0.5, peak_bytes=3_000_000),
        Case(1, "photos", 1): Outcome("png"),
        Case(1, "depths", 0): Outcome("npz", fault="crashed with SIGSEGV"),
    }
    lines = report(outcomes).splitlines()
    assert lines[2:4] == ["| photo: png | 2 | 1 | 1 | 0 | 0.50 | 3 |", "| depth: npz | 1 | 0 | 0 | 1 | 0.00 | 0 |"]
    assert lines[-1] == "--seed 1 --case depths:0, npz: crashed with SIGSEGV"

"""Counters, rates, levels and throttled lines, on a clock of the test's own."""

from __future__ import annotations

import pytest

from ros2_pro.faults import CAUSES, DROPS, NOTES, MessageError
from ros2_pro.frames.diagnostics import ERROR, OK, STALE, WARN, Health


class Desk:
    """A health with a clock to turn and the lines it logged."""

    def __init__(self):
        self.now_s = 100.0
        self.lines: list[tuple[str, str]] = []
        self.health = Health(lambda cause, line, withheld: self.lines.append((cause, line)), clock=lambda: self.now_s)

    def state(self):
        return self.health.report(stale_after_s=3.0)


@pytest.fixture
def desk():
    return Desk()


def test_every_cause_has_words_and_is_either_a_drop_or_a_note():
    assert not set(DROPS) & set(NOTES) and all(len(text) > 10 for text in CAUSES.values())
    assert MessageError("bad_step", "x").cause == "bad_step"


def test_a_cause_is_logged_once_in_five_seconds_and_the_rest_is_counted(desk):
    for _ in range(10):
        desk.health.count("bad_step", "rows of 5")
        desk.now_s += 0.1
    assert desk.lines == [("bad_step", "bad_step: rows of 5")]
    desk.now_s += 5.0
    desk.health.count("bad_step", "rows of 5")
    assert desk.lines[1:] == [("bad_step", "bad_step: rows of 5 (9 more since the last line)")]
    assert desk.health.counts() == {"bad_step": 11}
    assert desk.state().values["count bad_step"] == "11" and desk.state().values["frames dropped"] == "11"


def test_another_cause_is_logged_at_once(desk):
    desk.health.count("bad_step")
    desk.health.count("short_data")
    assert [cause for cause, _ in desk.lines] == ["bad_step", "short_data"]


def test_rates_are_those_of_the_last_seconds(desk):
    for _ in range(50):
        desk.health.received()
        desk.now_s += 0.1
    assert float(desk.state().values["input rate (Hz)"]) == pytest.approx(10, rel=0.02)
    desk.now_s += 10
    assert float(desk.state().values["input rate (Hz)"]) == 0


def test_latencies_show_as_percentiles(desk):
    assert desk.state().values["latency p50 (s)"] == "-"
    for n in range(100):
        desk.health.finished(latency_s=n / 100, engine_s=0.25, wait_s=0.5)
    values = desk.state().values
    assert float(values["latency p50 (s)"]) == pytest.approx(0.5, abs=0.02)
    assert float(values["latency p95 (s)"]) == pytest.approx(0.95, abs=0.02)
    assert values["engine time (s)"] == "0.250" and values["wait before work (s)"] == "0.500"


def test_a_latency_of_a_stamp_of_another_clock_is_told_from_the_arrival_and_apart(desk):
    desk.health.finished(latency_s=0.5, engine_s=0.25, wait_s=0.5)
    assert desk.state().values["latency from"] == "the image's stamp"
    desk.health.finished(latency_s=0.1, by_stamp=False, engine_s=0.25, wait_s=0.5)
    values = desk.state().values
    assert values["latency p50 (s)"] == values["latency p95 (s)"] == "0.100"
    assert values["latency from"].startswith("its arrival")


def test_levels(desk):
    assert desk.state().level == STALE
    desk.health.received()
    assert desk.state().level == OK
    desk.health.count("padded_rows")
    assert desk.state().level == WARN
    desk.now_s += 2
    desk.health.count("engine_error", "out of order")
    assert (desk.state().level, desk.state().text) == (ERROR, "engine_error: out of order")
    desk.now_s += 6
    assert desk.state().level == STALE
    desk.health.received()
    assert desk.state().level == OK


def test_many_drops_are_a_warning_and_few_are_not(desk):
    for n in range(40):
        desk.health.received()
        if n == 0:
            desk.health.count("overrun")
        desk.now_s += 0.1
    desk.now_s += 0.9
    desk.health.received()
    assert "dropped" not in desk.state().text
    for _ in range(10):
        desk.health.received()
        desk.health.count("overrun")
    assert desk.state().level == WARN and "dropped" in desk.state().text

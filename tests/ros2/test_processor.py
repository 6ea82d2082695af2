"""What a processor tells of frames and their stamps, on a desk."""

from __future__ import annotations

import pytest
from desk import Desk


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_recordings_latency_is_not_told_as_years(desk):
    desk.look()  # stamped 1 s after the epoch, at a time of 1e9 s
    values = desk.health.report(stale_after_s=1).values
    assert values["latency from"].startswith("its arrival")
    assert 0 <= float(values["latency p95 (s)"]) < 1e6  # 1e9 is that of the stamp


def test_a_stamp_is_not_of_the_future_before_there_is_a_time(desk):
    desk.ros_time_s = 0.0
    desk.look()
    assert not desk.health.counts().get("time_jump")
    desk.ros_time_s = 1.0
    desk.look()
    desk.look()  # stamped 3 s
    assert desk.health.counts()["time_jump"] == 1

"""The worker's thread: newest frame first, jobs in between, a bounded rate, an end."""

from __future__ import annotations

import threading
import time

import pytest

from ros2_pro.frames.newest_frame import FrameWorker
from ros2_pro.messages.caches import CameraInfoCache, SensorCache

PATIENCE_S = 60.0  # for what comes at once unless something is broken


class Gate:
    """A `process` that stands still until it is let go."""

    def __init__(self):
        self.seen: list[object] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def __call__(self, frame):
        self.seen.append(frame)
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE_S)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def worker(gate):
    worker = FrameWorker(gate)
    yield worker
    gate.go_on.release(100)
    assert worker.stop(PATIENCE_S)


def test_frames_that_came_meanwhile_are_replaced_by_the_newest(gate, worker):
    assert worker.put(1) is False
    assert gate.begun.acquire(timeout=PATIENCE_S)
    assert [worker.put(n) for n in (2, 3, 4)] == [False, True, True]
    gate.go_on.release(2)
    assert gate.begun.acquire(timeout=PATIENCE_S)
    assert gate.seen == [1, 4]


def test_jobs_run_between_frames_and_give_their_result_or_exception(gate, worker):
    worker.put(1)
    assert gate.begun.acquire(timeout=PATIENCE_S)
    good, bad = worker.ask(lambda: 7), worker.ask(lambda: 1 / 0)
    assert not good.done()
    gate.go_on.release()
    assert good.result(timeout=PATIENCE_S) == 7
    with pytest.raises(ZeroDivisionError):
        bad.result(timeout=PATIENCE_S)


def test_a_frame_waits_for_its_time(gate, worker):
    earliest = time.monotonic() + 0.3
    worker.rest_until(earliest)
    worker.put(1)
    assert gate.begun.acquire(timeout=PATIENCE_S)
    assert time.monotonic() >= earliest


def test_stopping_cancels_what_was_not_begun_and_refuses_more(gate):
    worker = FrameWorker(gate)
    worker.put(1)
    assert gate.begun.acquire(timeout=PATIENCE_S)
    waiting = worker.ask(lambda: 7)
    assert worker.stop(0.05) is False, "still in the frame"
    assert worker.stopping and waiting.cancelled() and worker.ask(lambda: 7).cancelled()
    gate.go_on.release()
    assert worker.stop(PATIENCE_S) and gate.seen == [1]


class Stamped:
    def __init__(self, stamp_s):
        self.header = self
        self.stamp = self
        self.sec, self.nanosec = int(stamp_s), round((stamp_s % 1) * 1e9)


def test_the_sensor_message_nearest_in_time_is_found_within_the_limit():
    cache = SensorCache()
    messages = [Stamped(s) for s in (1.0, 2.0, 3.0)]
    for message in messages:
        cache.put(message)
    assert cache.nearest(2.04, 0.1) is messages[1]
    assert cache.nearest(2.5, 0.1) is None
    cache.forget()
    assert cache.nearest(2.0, 0.1) is None


def test_only_the_first_image_waits_for_the_camera_info():
    cache = CameraInfoCache()
    begun = time.monotonic()
    assert cache.get(0.2) is None and time.monotonic() - begun >= 0.2
    second = threading.Thread(target=cache.get, args=(3600.0,), daemon=True)
    second.start()
    second.join(PATIENCE_S)
    assert not second.is_alive(), "it waits again"
    cache.put("info")
    assert cache.get(0.0) == "info" and cache.known


def test_an_image_that_waits_takes_the_camera_info_that_comes_meanwhile():
    cache = CameraInfoCache()
    timer = threading.Timer(0.1, cache.put, ["info"])
    timer.start()
    assert cache.get(PATIENCE_S) == "info"

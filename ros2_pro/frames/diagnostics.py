"""What diagnostics tell: counters by cause, rates, latencies, and the level that follows from them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from ros2_pro.faults import CAUSES, DROPS

OK, WARN, ERROR, STALE = range(4)  # the levels of diagnostic_msgs/DiagnosticStatus

LOG_PERIOD_S = 5.0  # between two log lines of one cause
RATE_WINDOW_S = 5.0
LATENCIES_KEPT = 200
RECENT_S = 5.0  # for how long a fault shows in the level
MANY_DROPS = 0.1  # share of frames of the last seconds

_FAULTS = ("engine_error", "engine_memory", "engine_output", "load_failed", "internal_error")
_METRES = ("scale_rejected", "scale_stale", "bad_scale_source", "no_ground", "unregistered_sensor")

Clock = Callable[[], float]


class Rate:
    """Events a second over the last seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: deque[float] = deque()

    def tick(self) -> None:
        """One event, now."""
        self._times.append(self._clock())
        self._forget()

    def count(self) -> int:
        """Events within the window."""
        self._forget()
        return len(self._times)

    def hz(self) -> float:
        """Mean rate within the window, in hertz."""
        self._forget()
        if len(self._times) < 2:
            return len(self._times) / RATE_WINDOW_S
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-6)

    def _forget(self) -> None:
        now = self._clock()
        while self._times and now - self._times[0] > RATE_WINDOW_S:
            self._times.popleft()


@dataclass(frozen=True)
class Report:
    """One line of state: a level of DiagnosticStatus, a sentence, and figures by name."""

    level: int
    text: str
    values: dict[str, str]


class Health:
    """Counts what happens, from any thread. `log(cause, text, withheld)` is called at most once in 5 s a cause."""

    def __init__(self, log: Callable[[str, str, bool], None], *, clock: Clock = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._last_seen: dict[str, float] = {}
        self._last_text: dict[str, str] = {}
        self._last_logged: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()
        self._input, self._output, self._dropped = Rate(clock), Rate(clock), Rate(clock)
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._by_stamp = True
        self._frames_in = self._frames_out = 0
        self._last_input: float | None = None
        self._engine_s = self._wait_s = 0.0

    def received(self) -> None:
        """An image came in."""
        with self._lock:
            self._frames_in += 1
            self._last_input = self._clock()
            self._input.tick()

    def finished(self, *, latency_s: float, engine_s: float, wait_s: float, by_stamp: bool = True) -> None:
        """A frame was published.

        latency_s: from its stamp (`by_stamp`), or from its arrival, to now; engine_s: in the model; wait_s: from its
        arrival to the start of work.
        """
        with self._lock:
            self._frames_out += 1
            self._output.tick()
            if by_stamp != self._by_stamp:
                self._latencies.clear()
                self._by_stamp = by_stamp
            self._latencies.append(latency_s)
            self._engine_s, self._wait_s = engine_s, wait_s

    def count(self, cause: str, text: str = "", *, withheld: bool = False) -> None:
        """Something was wrong.

        text: says what, else the cause's own words do. withheld: whether an output that somebody listens to is not
        published for it.
        """
        text = text or CAUSES[cause]
        with self._lock:
            now = self._clock()
            self._counts[cause] += 1
            self._last_seen[cause], self._last_text[cause] = now, text
            if cause in DROPS:
                self._dropped.tick()
            if now - self._last_logged.get(cause, -LOG_PERIOD_S) < LOG_PERIOD_S:
                self._unlogged[cause] += 1
                return
            self._last_logged[cause] = now
            more = self._unlogged.pop(cause, 0)
        self._log(cause, f"{cause}: {text}" + (f" ({more} more since the last line)" if more else ""), withheld)

    def counts(self) -> dict[str, int]:
        """How often each cause happened."""
        with self._lock:
            return dict(self._counts)

    def seconds_without_input(self) -> float | None:
        """Since the last image; None before the first."""
        with self._lock:
            return None if self._last_input is None else self._clock() - self._last_input

    def report(self, *, stale_after_s: float) -> Report:
        """Level, sentence and figures for diagnostics."""
        with self._lock:
            level, text = self._level(stale_after_s)
            values = {
                "input rate (Hz)": f"{self._input.hz():.2f}",
                "output rate (Hz)": f"{self._output.hz():.2f}",
                "frames received": str(self._frames_in),
                "frames finished": str(self._frames_out),
                "frames dropped": str(sum(self._counts[cause] for cause in DROPS)),
                "latency p50 (s)": _percentile(self._latencies, 0.5),
                "latency p95 (s)": _percentile(self._latencies, 0.95),
                "latency from": "the image's stamp"
                if self._by_stamp
                else "its arrival, as its stamp is of another clock",
                "engine time (s)": f"{self._engine_s:.3f}",
                "wait before work (s)": f"{self._wait_s:.3f}",
            }
            values.update({f"count {cause}": str(self._counts[cause]) for cause in CAUSES})
        return Report(level, text, values)

    def _level(self, stale_after_s: float) -> tuple[int, str]:
        now = self._clock()
        if fault := self._recent(_FAULTS, now):
            return ERROR, fault
        if self._last_input is None:
            return STALE, "no image yet"
        if now - self._last_input > stale_after_s:
            return STALE, f"no image for {now - self._last_input:.1f} s"
        if metres := self._recent(_METRES, now):
            return WARN, metres
        came, dropped = self._input.count(), self._dropped.count()
        if came and dropped > MANY_DROPS * came:
            return WARN, f"{dropped} of {came} images dropped in the last {RATE_WINDOW_S:g} s"
        if note := self._recent(tuple(CAUSES), now):
            return WARN, note
        return OK, "working"

    def _recent(self, causes: tuple[str, ...], now: float) -> str:
        """The newest of these causes within the last seconds, in words; '' if none."""
        seen = [(self._last_seen[c], c) for c in causes if now - self._last_seen.get(c, -RECENT_S) < RECENT_S]
        return f"{max(seen)[1]}: {self._last_text[max(seen)[1]]}" if seen else ""


def _percentile(values: deque[float], share: float) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.3f}"

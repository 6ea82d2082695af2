# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as a process of its own: finds it, starts it, hears it, ends it. Needs the standard library only.

One JSON object a line goes over pipes; no port is opened. Two threads read what the process says, so that `poll` never
waits. The engine ends when its stdin closes, so it outlives neither Blender nor a crash of Blender.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from .diagnosis import sentence_of_end, sentence_of_error, sentence_of_start
from .errors import UserError

PROTOCOL = 1
OLDEST_VERSION = (0, 1)
START_S = 60.0  # to `ready`; a cold disk and a virus scanner take their time
CHECK_S = 30.0  # a loaded machine imports torch in more than 10 s
QUIT_S = 2.0  # the engine gives a job 1 s to end by itself
END_S = 0.5  # between the end of the process and the end of its output, when a child of its own keeps that open
MAX_LINE = 1 << 20  # bytes
MAX_WAITING = 1000  # lines nobody polled yet; after that the pipe fills and the engine waits
MAX_NOISE = 20  # lines before `ready`
POLL_LINES = 100
TAIL_LINES, TAIL_BYTES = 50, 1 << 14

Event = dict[str, Any]


class EngineError(UserError):
    """The engine cannot be started, or is not there any more."""


class Client:
    """One process of the engine, started at once. Ask, poll for events, and quit; all from one thread.

    Args:
        command: what to start, of `locate.engine_command`.
        start_s: seconds until it must be ready.

    Attributes:
        version: of the engine; "" until it is ready.
        heard_s: when it last said anything, stderr included; time.monotonic().

    Raises:
        EngineError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, start_s: float = START_S) -> None:
        self.command = list(command)
        self.version = ""
        self._start_s = start_s
        self._oom_kills = _oom_kills()
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment(os.environ),
                cwd=os.path.dirname(self.command[0]) or None,  # a json.py beside a .blend must not be the engine's
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                start_new_session=True,  # Ctrl-C in Blender's terminal is meant for Blender
            )
        except OSError as error:
            raise EngineError(sentence_of_start(self.command[0], error)) from error
        self.heard_s = self._begun_s = time.monotonic()
        self._lines: queue.Queue[Event | str] = queue.Queue(MAX_WAITING)
        self._noise: list[str] = []
        self._tail = b""
        self._jobs = 0
        self._too_long = False
        self._over_s: float | None = None  # when the end of the process was seen first
        self._failure = ""
        self._reaper: threading.Thread | None = None
        self._reader = threading.Thread(target=self._read_answers, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._read_stderr, args=(self._process.stderr,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the engine said so."""
        return bool(self.version)

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote to stderr, at most 50, the newest last."""
        return self._tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]

    def ask(self, do: str, **values: Any) -> int:
        """Send a request; its id, which the events of the answer repeat. A dead engine is noticed by `poll`."""
        self._jobs += 1
        self._send({"id": self._jobs, "do": do, **values})
        return self._jobs

    def cancel(self, job: int) -> None:
        """Ask to stop a job; the event `cancelled` follows. The process lives on: `quit` ends both."""
        self._send({"do": "cancel", "job": job})

    def poll(self) -> list[Event]:
        """The events since the last call, oldest first. Never waits.

        Raises:
            EngineError: it ended, was not ready in time, is no engine of ours or of another protocol. It is dead then,
                and every later call says the same.
        """
        if self._failure:
            raise EngineError(self._failure)
        events: list[Event] = []
        for _ in range(POLL_LINES):
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
            if isinstance(line, str):
                self._noise = [*self._noise, line][-MAX_NOISE:]
            elif line["event"] == "ready" and not self.ready:
                self._welcome(line)
            elif self.ready:
                events.append(line)
        if not events:
            self._watch()
        return events

    def quit(self) -> None:
        """Have the process end, in the middle of a job too; it is gone within 3 s, killed if need be. Never waits."""
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._reap, daemon=True)
            self._reaper.start()

    def kill(self) -> None:
        """End the process at once, with what it started itself."""
        if self.alive:
            with contextlib.suppress(OSError):
                if os.name == "nt":
                    self._process.kill()
                else:
                    os.killpg(self.pid, 9)  # it leads a session of its own
        self.quit()

    def close(self) -> None:
        """`quit`, and wait until the process is gone, 3 s at most."""
        self.quit()
        if self._reaper is not None:
            self._reaper.join(QUIT_S + 1)

    def _send(self, request: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        with _broken_pipes_are_errors(), contextlib.suppress(OSError, ValueError):  # `poll` tells of the end
            if stdin is not None:
                stdin.write(json.dumps(request).encode("ascii") + b"\n")
                stdin.flush()

    def _reap(self) -> None:
        self._send({"do": "quit"})
        with _broken_pipes_are_errors(), contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(QUIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def _read_answers(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(MAX_LINE + 1):
                self.heard_s = time.monotonic()
                if len(line) > MAX_LINE:
                    self._too_long = True
                    return
                if not self._hand_over(_parsed(line)):
                    return

    def _hand_over(self, line: Event | str) -> bool:
        """Queue a line; False when nobody will ever ask for it."""
        while self._reaper is None:
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=0.2)
                return True
        return False

    def _read_stderr(self, stream: IO[bytes]) -> None:
        with stream:
            while chunk := os.read(stream.fileno(), TAIL_BYTES):  # in pieces: a progress bar ends no line
                self.heard_s = time.monotonic()
                self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def _welcome(self, event: Event) -> None:
        protocol, version = event.get("protocol"), str(event.get("version") or "unknown")
        if protocol != PROTOCOL:
            newer = "the add-on" if isinstance(protocol, int) and protocol > PROTOCOL else "the engine"
            self._fail(f"The engine speaks protocol {protocol} and the add-on {PROTOCOL}; update {newer}.")
        if _numbers(version) < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            self._fail(f"The engine has version {version[:40]}; update it to {oldest} or later.")
        self.version = version

    def _watch(self) -> None:
        """Fail if the process is gone, breaks the protocol, or is not ready in time."""
        now_s = time.monotonic()
        if self._too_long:
            self._fail(f"The engine sent a line of more than {MAX_LINE >> 20} MiB, which it never should; update it.")
        if not self.ready and len(self._noise) >= MAX_NOISE:
            self._fail(f'{self.command[0]} is not the engine, it says "{self._noise[0][:60]}"; choose another program.')
        ended = not self.alive
        if ended or not self._reader.is_alive():
            self._over_s = self._over_s or now_s
            quiet = not self._reader.is_alive() and self._lines.empty()
            if (ended and quiet) or now_s - self._over_s > END_S:
                self._fail(self._why_ended())
        elif not self.ready and now_s - self._begun_s > self._start_s:
            self._fail(
                f"{self.command[0]} was not ready within {self._start_s:.0f} s; try again, and check that it is the"
                " engine."
            )

    def _why_ended(self) -> str:
        code, tail = self._process.poll(), self.stderr_tail
        out_of_memory = _oom_kills() > self._oom_kills
        return sentence_of_end(self.command, code, tail, self._noise, ready=self.ready, out_of_memory=out_of_memory)

    def _fail(self, sentence: str) -> None:
        self._failure = sentence
        self.kill()
        raise EngineError(sentence)


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of itself. `models` are mappings with `name`, `summary`, `licence`, `commercial`, `weights`.

    `weights` is "bundled", "in the cache", "fetched on first use", or what is missing.
    """

    version: str
    device: str
    python: str
    torch: str
    gpus: tuple[str, ...]
    models: tuple[Mapping[str, str], ...]


class EngineCheck:
    """Starts an engine, asks what it is and ends it; poll it until it gives the answer.

    Raises:
        EngineError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, limit_s: float = CHECK_S) -> None:
        self._client = Client(command, start_s=limit_s)
        self._limit_s, self._end_s = limit_s, time.monotonic() + limit_s
        self._client.ask("info")

    @property
    def version(self) -> str:
        """Of the engine; "" until it is ready, which is long before it knows its devices."""
        return self._client.version

    def poll(self) -> EngineInfo | None:
        """The answer, or None while there is none. Never waits. EngineError: there will be none."""
        for event in self._client.poll():
            if event["event"] == "done":
                self.close()
                return _info_of(event.get("result"))
            if event["event"] == "error":
                self.close()
                raise EngineError(sentence_of_error(self._client.command, event))
        if time.monotonic() > self._end_s:
            self.close()
            raise EngineError(f"The engine did not answer within {self._limit_s:.0f} s; wait a little and try again.")
        return None

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        self._client.quit()


def check_engine(command: Sequence[str], *, limit_s: float = CHECK_S) -> EngineInfo:
    """Wait for what an engine says of itself, `limit_s` seconds at most; EngineError: it says nothing."""
    check = EngineCheck(command, limit_s=limit_s)
    try:
        while (info := check.poll()) is None:
            time.sleep(0.02)
    finally:
        check.close()
    return info


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without what points another Python at Blender's libraries."""
    kept = {name: value for name, value in own.items() if not name.upper().startswith(("PYTHON", "__PYVENV"))}
    return {**kept, "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"}


@contextlib.contextmanager
def _broken_pipes_are_errors() -> Iterator[None]:
    """Inside, what is written to a dead process raises in this thread. Else a signal would end Blender, which, unlike
    Python, does not ignore it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows has no such signal
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            if signal.SIGPIPE in signal.sigpending():
                signal.sigwait({signal.SIGPIPE})
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _parsed(line: bytes) -> Event | str:
    """An event, or the text of a line that is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict) and isinstance(event.get("event"), str):
        return event
    return line.decode("utf-8", "replace").strip()


def _numbers(version: str) -> tuple[int, ...]:
    """`0.1.0rc1` as (0, 1); what is no version is older than any."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _info_of(result: Any) -> EngineInfo:
    try:
        texts = (str(result[key]) for key in ("pro_engine", "device", "python", "torch"))
        return EngineInfo(*texts, tuple(map(str, result["gpus"])), tuple(dict(model) for model in result["models"]))
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError("The engine's answer is not complete; update the engine.") from error


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError, IndexError):
        return 0

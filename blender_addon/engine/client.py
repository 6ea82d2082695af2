# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as a process of its own: starts it, hears it, ends it. Needs the standard library only.

One JSON object a line: requests go over a pipe, answers come in a file, so that nothing here ever waits and no port is
opened. The engine ends when its stdin closes, so it outlives neither Blender nor a crash of Blender.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import EngineError
from .output import ProcessOutput, full_folder
from .why_it_ended import sentence_of_end, sentence_of_start

PROTOCOL = 2
OLDEST_VERSION = (0, 1)
START_S = 60.0  # to `ready`; a cold disk and a virus scanner take their time
QUIT_S = 2.0  # the engine gives a job 1 s to end by itself
PAUSE_S = 0.01
MAX_LINE = 1 << 20  # bytes
MAX_NOISE = 20  # lines before `ready`
POLL_LINES = 100
MAX_ANSWERS = 64 << 20  # bytes for one job, hundreds of times what the largest grid of patches takes
KEPT_BYTES = 1 << 20  # of a file that is no longer needed
TAIL_LINES, TAIL_BYTES = 50, 1 << 14

Event = dict[str, Any]

_ending: list[Client] = []  # told to end, and not seen to be gone


class Client:
    """One process of the engine, started at once. Ask, poll for events, and quit; all from one thread.

    Args:
        command: what to start, of `find.engine_command`.
        start_s: seconds until it must be ready.

    Attributes:
        version: of the engine; "" until it is ready.
        heard_s: when it was last seen to have said anything, stderr included; time.monotonic().

    Raises:
        EngineError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, start_s: float = START_S) -> None:
        reap()
        self.command = list(command)
        self.version = ""
        self._start_s = start_s
        self._oom_kills = _oom_kills()
        self._answers, self._errors = ProcessOutput(), ProcessOutput()
        try:
            self._process = subprocess.Popen(
                self.command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=self._answers.end,
                stderr=self._errors.end,
                env=child_environment(os.environ),
                cwd=os.path.dirname(self.command[0]) or None,  # a json.py beside a .blend must not be the engine's
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                start_new_session=True,  # Ctrl-C in Blender's terminal is meant for Blender
            )
        except OSError as error:
            self._close()
            raise EngineError(sentence_of_start(self.command[0], error)) from error
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        if hasattr(os, "set_blocking"):  # not in Windows' Pythons before 3.12, see `ask`
            os.set_blocking(self._stdin.fileno(), False)
        self.heard_s = self._begun_s = time.monotonic()
        self._quit_s: float | None = None
        self._unsent = b""
        self._noise: list[str] = []
        self._tail = b""
        self._jobs = 0
        self._failure = ""

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
        """Send a request, once the one before is answered; its id, which the events of the answer repeat.

        Never waits, and a dead engine is noticed by `poll`: what the pipe does not take goes with later polls. Where a
        pipe cannot be told so, in Windows before Python 3.12, it takes 4 KiB at once, and an engine reads at all times.
        """
        if self._answers.size > KEPT_BYTES and not self._answers.unread and not self._answers.rest:
            self._answers.rewind()  # an engine without a job says nothing that could be lost
        self._jobs += 1
        self._unsent += json.dumps({"id": self._jobs, "do": do, **values}).encode("ascii") + b"\n"
        self._send()
        return self._jobs

    def poll(self) -> list[Event]:
        """The events since the last call, oldest first; of a hundred lines at most. Never waits. None after `quit`.

        Raises:
            EngineError: it ended, was not ready in time, is no engine of ours or of another protocol. It is dead then,
                and every later call says the same.
        """
        reap()
        if self._failure:
            raise EngineError(self._failure)
        if self._quit_s is not None:
            return []
        self._send()
        ended = not self.alive  # before its files are read: what it wrote is in them
        if self._answers.unread or self._errors.unread:
            self.heard_s = time.monotonic()
        self._tail = (self._tail + self._errors.tail(TAIL_BYTES))[-TAIL_BYTES:]
        if self._errors.size > KEPT_BYTES:
            self._errors.rewind()
        lines = self._answers.lines(POLL_LINES)
        if max(map(len, (*lines, self._answers.rest.partition(b"\n")[0]))) > MAX_LINE:
            self._fail(f"The engine sent a line of more than {MAX_LINE >> 20} MiB, which it never should; update it.")
        if self._answers.size > MAX_ANSWERS:
            self._fail(f"The engine sent more than {MAX_ANSWERS >> 20} MiB, which it never should; update it.")
        events = [event for line in lines if (event := self._taken(line)) is not None]
        if not events:
            self._watch(ended and not lines)
        return events

    def quit(self) -> None:
        """Have the process end, in the middle of a job too. Never waits: `gone` tells when it has."""
        if self._quit_s is None:
            self._quit_s = time.monotonic()
            _ending.append(self)
            with contextlib.suppress(OSError):
                self._stdin.close()

    def kill(self) -> None:
        """End the process at once, with what it started itself."""
        if self.alive:
            with contextlib.suppress(OSError):
                if os.name == "nt":
                    self._process.kill()
                else:
                    os.killpg(self.pid, 9)  # it leads a session of its own
        self.quit()

    def gone(self) -> bool:
        """Whether the process has ended. One that was told to and has not after 2 s is killed here."""
        if self.alive and self._quit_s is not None and time.monotonic() - self._quit_s > QUIT_S:
            self.kill()
        if self.alive:
            return False
        self._close()
        return True

    def _close(self) -> None:
        self._answers.close()
        self._errors.close()

    def _send(self) -> None:
        if self._unsent:
            with _broken_pipes_are_errors(), contextlib.suppress(OSError):
                sent = self._stdin.write(self._unsent)  # None if the pipe is full
                self._unsent = self._unsent[sent or 0 :]

    def _taken(self, line: bytes) -> Event | None:
        """The event for whoever asked, if the line is one."""
        event = _parsed(line)
        if isinstance(event, str):
            self._noise = [*self._noise, event][-MAX_NOISE:]
        elif event["event"] == "ready" and not self.ready:
            self._welcome(event)
        elif self.ready:
            return event
        return None

    def _welcome(self, event: Event) -> None:
        protocol, version = event.get("protocol"), str(event.get("version") or "unknown")
        if protocol != PROTOCOL:
            newer = "the add-on" if isinstance(protocol, int) and protocol > PROTOCOL else "the engine"
            self._fail(f"The engine speaks protocol {protocol} and the add-on {PROTOCOL}; update {newer}.")
        if _numbers(version) < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            self._fail(f"The engine has version {version[:40]}; update it to {oldest} or later.")
        self.version = version

    def _watch(self, over: bool) -> None:
        """Fail if it is over, or the process breaks the protocol, or is not ready in time."""
        if not self.ready and len(self._noise) >= MAX_NOISE:
            self._fail(f'{self.command[0]} is not the engine, it says "{self._noise[0][:60]}"; choose another program.')
        if over:
            out_of_memory, code = _oom_kills() > self._oom_kills, self._process.returncode
            self._fail(
                sentence_of_end(
                    self.command, code, self.stderr_tail, self._noise,
                    ready=self.ready, out_of_memory=out_of_memory, full_folder=full_folder(),
                )
            )  # fmt: skip
        if not self.ready and time.monotonic() - self._begun_s > self._start_s:
            self._fail(
                f"{self.command[0]} was not ready within {self._start_s:.0f} s; try again, and check that it is the"
                " engine."
            )

    def _fail(self, sentence: str) -> None:
        self._failure = sentence
        self.kill()
        raise EngineError(sentence)


def reap() -> bool:
    """See to the engines that were told to end; whether any is still there. Never waits; call it until none is."""
    _ending[:] = [client for client in _ending if not client.gone()]
    return bool(_ending)


def wait_for_ends() -> None:
    """Until no engine that was told to end is there any more, 3 s at most."""
    end_s = time.monotonic() + QUIT_S + 1
    while reap() and time.monotonic() < end_s:
        time.sleep(PAUSE_S)


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


def _oom_kills() -> int:
    """How many processes the kernel has killed because memory ran out since it started; 0 if that is not known."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError, IndexError):
        return 0

"""How fast the Blender add-on sees what the engine's process does, and what looking costs:

    python benchmarks/addon_client.py [--runs 20]

Engines are scripts of a few lines, polled every 10 ms. Times are milliseconds on the clock, but for those of `poll`
itself, which are of this thread's processor time. Linux only.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from blender_addon.engine.client import OLDEST_VERSION, PROTOCOL, Client, wait_for_ends  # noqa: E402
from blender_addon.errors import EngineError  # noqa: E402

TICK_S = 0.01
POLLS = 300
HEAD = (
    f"""
PROTOCOL, VERSION = {PROTOCOL}, "{".".join(map(str, OLDEST_VERSION))}"
"""
    + """
import json, os, signal, sys, time
def say(event, **values):
    sys.stdout.write(json.dumps({"event": event, **values}) + chr(10)); sys.stdout.flush()
say("ready", protocol=PROTOCOL, version=VERSION, pid=os.getpid())
"""
)
IDLE = "for line in sys.stdin: pass"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)"
CLOCK = "for line in sys.stdin: say('done', s=time.monotonic())"
FLOOD = "while True: say('progress', id=1, done=1, total=2, seconds_left=1.0)"
HOST = """
import sys, time
sys.path.insert(0, sys.argv[1])
from blender_addon.engine.client import Client
client = Client(sys.argv[2:])
while not client.ready: client.poll(); time.sleep(0.01)
print(client.pid, flush=True)
time.sleep(60)
"""


def command(body: str) -> list[str]:
    """What starts an engine that says it is ready and then does as `body` says."""
    return [sys.executable, "-c", HEAD + body]


@contextmanager
def started(body: str) -> Iterator[Client]:
    """An engine that is ready; killed in the end, if it still runs."""
    client = Client(command(body))
    try:
        while not client.ready:
            client.poll()
            time.sleep(TICK_S)
        yield client
    finally:
        client.kill()
        wait_for_ends()


def death_of_the_engine() -> float:
    """From a SIGKILL of the engine to the sentence."""
    with started(IDLE) as client:
        os.kill(client.pid, signal.SIGKILL)
        begun_s = time.monotonic()
        try:
            while True:
                client.poll()
                time.sleep(TICK_S)
        except EngineError:
            return time.monotonic() - begun_s


def death_of_the_host() -> float:
    """From a SIGKILL of the host to the end of the engine."""
    host = subprocess.Popen([sys.executable, "-c", HOST, str(ROOT), *command(IDLE)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    host.kill()
    begun_s = time.monotonic()
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.001)
    spent_s = time.monotonic() - begun_s
    host.communicate()
    return spent_s


def line() -> float:
    """From a line of the engine to its event."""
    with started(CLOCK) as client:
        client.ask("info")
        while not (events := client.poll()):
            time.sleep(TICK_S)
        return time.monotonic() - float(events[0]["s"])


def quit_of(body: str) -> tuple[float, float]:
    """The call that tells an engine to end, and from that call to its end."""
    with started(body) as client:
        begun_s = time.monotonic()
        client.quit()
        told_s = time.monotonic()
        wait_for_ends()
        return told_s - begun_s, time.monotonic() - begun_s


def polls_of(body: str) -> Iterator[float]:
    """The processor time of each of many polls."""
    with started(body) as client:
        for _ in range(POLLS):
            begun_s = time.thread_time()
            client.poll()
            yield time.thread_time() - begun_s
            time.sleep(TICK_S)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    runs = range(parser.parse_args(arguments).runs)
    print(f"| ms, {len(runs)} runs | median | longest |\n|---|---|---|")
    show("engine killed, to the sentence", [death_of_the_engine() for _ in runs])
    show("host killed, to the engine's end", [death_of_the_host() for _ in runs])
    show("a line, to its event", [line() for _ in runs])
    idle, deaf = ([quit_of(body) for _ in runs] for body in (IDLE, DEAF))
    show("call of quit", [told_s for told_s, _ in deaf])
    show("quit to the end, idle engine", [end_s for _, end_s in idle])
    show("quit to the end, deaf engine", [end_s for _, end_s in deaf])
    for what, body in {"silent": IDLE, "flooding": FLOOD}.items():
        show(f"poll of a {what} engine, {POLLS} calls", list(polls_of(body)))


def show(what: str, spent_s: list[float]) -> None:
    """A row of the table."""
    print(f"| {what} | {1000 * statistics.median(spent_s):.2f} | {1000 * max(spent_s):.2f} |", flush=True)


if __name__ == "__main__":
    main()

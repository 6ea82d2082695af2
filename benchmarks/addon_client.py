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
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from blender_addon.client import Client, wait_for_ends  # noqa: E402
from blender_addon.errors import EngineError  # noqa: E402

TICK_S = 0.01
POLLS = 300
HEAD = """
import json, os, signal, sys, time
def say(event, **values):
    sys.stdout.write(json.dumps({"event": event, **values}) + chr(10)); sys.stdout.flush()
say("ready", protocol=1, version="0.1.0", pid=os.getpid())
"""
IDLE = "for line in sys.stdin: pass"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)"
CLOCK = "for line in sys.stdin: say('done', s=time.monotonic())"
FLOOD = "while True: say('progress', id=1, done=1, total=2, seconds_left=1.0)"
HOST = """
import sys, time
sys.path.insert(0, sys.argv[1])
from blender_addon.client import Client
client = Client(sys.argv[2:])
while not client.ready: client.poll(); time.sleep(0.01)
print(client.pid, flush=True)
time.sleep(60)
"""


def command(body: str, folder: Path) -> list[str]:
    """What starts an engine that says it is ready and then does as `body` says."""
    path = folder / "engine.py"
    path.write_text(HEAD + body)
    return [sys.executable, str(path)]


def started(body: str, folder: Path) -> Client:
    """An engine that is ready."""
    client = Client(command(body, folder))
    while not client.ready:
        client.poll()
        time.sleep(TICK_S)
    return client


def death_of_the_engine(folder: Path) -> float:
    """From a SIGKILL of the engine to the sentence."""
    client = started(IDLE, folder)
    os.kill(client.pid, signal.SIGKILL)
    begun_s = time.monotonic()
    try:
        while True:
            client.poll()
            time.sleep(TICK_S)
    except EngineError:
        return time.monotonic() - begun_s
    finally:
        client.quit()
        wait_for_ends()


def death_of_the_host(folder: Path) -> float:
    """From a SIGKILL of the host to the end of the engine."""
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(ROOT), *command(IDLE, folder)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    host.kill()
    begun_s = time.monotonic()
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.001)
    spent_s = time.monotonic() - begun_s
    host.communicate()
    return spent_s


def line(folder: Path) -> float:
    """From a line of the engine to its event."""
    client = started(CLOCK, folder)
    client.ask("info")
    while not (events := client.poll()):
        time.sleep(TICK_S)
    seen_s = time.monotonic()
    client.quit()
    wait_for_ends()
    return seen_s - float(events[0]["s"])


def quit_call(folder: Path) -> float:
    """The call that tells an engine to end, one that does not listen."""
    client = started(DEAF, folder)
    begun_s = time.monotonic()
    client.quit()
    spent_s = time.monotonic() - begun_s
    client.kill()
    wait_for_ends()
    return spent_s


def end_of(body: str) -> Callable[[Path], float]:
    """From that call to the end of the engine."""

    def measure(folder: Path) -> float:
        client = started(body, folder)
        begun_s = time.monotonic()
        client.quit()
        wait_for_ends()
        return time.monotonic() - begun_s

    return measure


def polls_of(body: str, folder: Path) -> list[float]:
    """The processor time of each of many polls."""
    client = started(body, folder)
    spent_s = []
    for _ in range(POLLS):
        begun_s = time.thread_time()
        client.poll()
        spent_s.append(time.thread_time() - begun_s)
        time.sleep(TICK_S)
    client.kill()
    wait_for_ends()
    return spent_s


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args(arguments).runs
    rows: dict[str, Callable[[Path], float]] = {
        "engine killed, to the sentence": death_of_the_engine,
        "host killed, to the engine's end": death_of_the_host,
        "a line, to its event": line,
        "call of quit": quit_call,
        "quit to the end, idle engine": end_of(IDLE),
        "quit to the end, deaf engine": end_of(DEAF),
    }
    print(f"| ms, {runs} runs | median | longest |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, measure in rows.items():
            show(what, [measure(folder) for _ in range(runs)])
        for what, body in {"silent": IDLE, "flooding": FLOOD}.items():
            show(f"poll of a {what} engine, {POLLS} calls", polls_of(body, folder))


def show(what: str, spent_s: list[float]) -> None:
    """A row of the table."""
    print(f"| {what} | {1000 * statistics.median(spent_s):.2f} | {1000 * max(spent_s):.2f} |", flush=True)


if __name__ == "__main__":
    main()

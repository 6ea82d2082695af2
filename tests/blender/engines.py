"""Engines that misbehave: scripts in the place of `pro-engine`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PATIENCE_S = 120.0  # for what comes in seconds unless something is broken, on a machine with other work
HEAD = """
import json, os, signal, sys, time
def say(event, **values):
    sys.stdout.write(json.dumps({"event": event, **values}) + chr(10)); sys.stdout.flush()
def ready(**values):
    say("ready", **{"protocol": 2, "version": "0.2.0", "pid": os.getpid(), **values})
def requests():
    return (json.loads(line) for line in sys.stdin)
def work(job, phase="infer", **values):
    say("progress", id=job["id"], phase=phase, **{"done": 0, "total": 1, **values})
def finish(job, depth=None, intrinsics=None, **values):
    stem = os.path.join(job["folder"], os.path.basename(job["photo"]).split(".")[0])
    files = {"disparity": values.pop("disparity", stem + ".disparity.npy"), "depth": depth,
             "picture": values.pop("picture", stem + ".picture.png")}
    outputs = [{"kind": kind, "format": path[-3:], "path": path} for kind, path in files.items() if path]
    lens = {"source": "exif", **intrinsics} if intrinsics else {"source": "assumed", "fx": 4, "fy": 4, "cx": 1, "cy": 1}
    if job.get("projection") == "equirectangular": lens = {"source": "assumed", "projection": "equirectangular"}
    result = {"input": job["photo"], "outputs": outputs, "width": 4, "height": 3, "lens": lens, "reduced": False,
              "anchors": {"near": 2.0, "far": 1.0, "far_before_sky": 1.0}, "model": "fake", "tiles": [1, 1],
              "seconds": 0.1}
    say("done", id=job["id"], result={**result, **values})
"""


def program(
    folder: Path, body: str, *, head: str = HEAD, name: str = "pro-engine", python: str = sys.executable
) -> Path:
    """An executable script that runs under this Python, or another."""
    path = folder / name
    path.write_text(f"#!{python}\n{head}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, limit_s: float = PATIENCE_S) -> float:
    """Seconds until the condition holds; fails after `limit_s`."""
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() - begun_s > limit_s:
            raise TimeoutError(f"it did not come about in {limit_s:g} s")
        time.sleep(0.01)
    return time.monotonic() - begun_s


def engine_python() -> str:
    """This Python, which has the engine."""
    return os.path.abspath(sys.executable)


def one_sentence(text: str) -> str:
    """What a failure says, without what Blender puts before it; fails if it is more than a sentence."""
    text = text.removeprefix("Error: ")
    assert text.endswith(".") and "\n" not in text and "Traceback" not in text and len(text) < 300, text
    return text

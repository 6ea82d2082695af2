"""Runs in the tree: a screen, a Blender that plays one scene, and a look at what is left when it has ended.

`python3 window_runner.py SCENE FOLDER LIMIT_S` leaves in FOLDER what the scene leaves, and `end.json`: the exit code of
Blender, for how many seconds anything it had started lived on, and what still does. Needs the standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCREEN = "1600x1000x24"
START_LIMIT_S = 120.0
LEFT_LIMIT_S = 60.0


def others(*known: int) -> list[int]:
    """The processes here that are neither this one nor known nor dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:  # ended meanwhile
            continue
        if state != "Z" and int(folder.name) not in (os.getpid(), *known):
            found.append(int(folder.name))
    return found


def seconds_until(condition, limit_s: float) -> float:
    """How long it took, at most `limit_s`."""
    begun_s = time.monotonic()
    while not condition() and time.monotonic() - begun_s < limit_s:
        time.sleep(0.01)
    return time.monotonic() - begun_s


def main(scene: str, folder: Path, limit_s: float) -> None:
    """Play the scene."""
    screen = subprocess.Popen(["Xvfb", ":1", "-screen", "0", SCREEN, "+extension", "GLX", "-fbdir", "/tmp"])
    seconds_until(lambda: Path("/tmp/.X11-unix/X1").exists(), START_LIMIT_S)
    resources = folder / "resources" / scene
    environment = {"DISPLAY": ":1", "LIBGL_ALWAYS_SOFTWARE": "1", "BLENDER_USER_RESOURCES": str(resources)}
    width, height, _ = SCREEN.split("x")
    driver = str(folder / "window_driver.py")
    command = ["blender", "--factory-startup", "--window-geometry", "0", "0", width, height, "--enable-event-simulate"]
    command += ["--python-exit-code", "1", "--python", driver, "--", scene, str(folder)]
    with (folder / f"{scene}.log").open("w") as log:
        blender = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            code = blender.wait(limit_s)
        except subprocess.TimeoutExpired:
            blender.send_signal(signal.SIGABRT)
            code = blender.wait()
    left_s = seconds_until(lambda: not others(screen.pid), LEFT_LIMIT_S)
    (folder / "end.json").write_text(json.dumps({"code": code, "left_s": left_s, "left": others(screen.pid)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))

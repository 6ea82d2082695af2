"""A video through `pro-engine infer`: are its frames complete and in order, and does memory stay flat?

    python benchmarks/video_in.py [--size 1920x1080] [--seconds 10] [--rate 30] [--mark 30] [--infer "--tiles 1x1"]

The video is made: a slow pan over a picture of this repository, with the number of each frame as a row of black and
white squares. The command line infers it with a preview in a process of its own. The order is that of the numbers in
the pictures of the preview; the peak of memory (resident set) is read when frame MARK is done and at the end, and the
time left as the progress bar tells it in the middle. Linux only; needs the extra `video`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from pro_engine.io.image import load_image
from pro_engine.io.video import VideoWriter, open_video
from pro_engine.types import ImageArray

PHOTO = Path(__file__).resolve().parents[1] / "docs/photos/drum.jpg"
BITS = 12
MB = 1e6


def frames(count: int, width: int, height: int) -> Iterator[ImageArray]:
    """A pan, with the number of the frame from 1 in squares at the top, lowest bit first."""
    photo, _ = load_image(PHOTO)
    factor = 1.1 * max(width / photo.shape[1], height / photo.shape[0])
    large = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    for number in range(1, count + 1):
        left = round((large.shape[1] - width) * number / count)
        frame = np.ascontiguousarray(large[:height, left : left + width])
        for bit in range(BITS):
            frame[: width // 16, bit * width // 16 : (bit + 1) * width // 16] = 255 * (number >> bit & 1)
        yield np.asarray(frame, np.uint8)


def number_in(preview: ImageArray) -> int:
    """The number of the frame in the left panel of a picture of the preview."""
    panel = preview[:, : preview.shape[1] // 2]
    top = preview.shape[0] - panel.shape[1] * 9 // 16  # roughly: below the label
    square = panel.shape[1] / 16
    row = panel[round(top + square / 2)].mean(1)
    return sum(1 << bit for bit in range(BITS) if row[round((bit + 0.5) * square)] > 128)


def peak_mb(pid: int) -> float:
    """The most that a process has held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / MB  # type: ignore[index]


def infer(video: Path, out: Path, more: Sequence[str], mark: int) -> tuple[list[int], dict[str, float], str]:
    """Run the command line: numbers of the frames as they are told, peaks in MB, and all that the bar showed."""
    command = [sys.executable, "-m", "pro_engine", "infer", str(video), "-o", str(out), "--preview", *more]
    told: list[int] = []
    peaks: dict[str, float] = {}
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "FORCE_COLOR": "1", "COLUMNS": "120"}
    with open(out.with_name("bar.txt"), "w+", encoding="utf-8") as bar:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=bar, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r", frame (\d+): ", line):
                told.append(int(found[1]))
                if told[-1] <= mark:
                    peaks[f"frame {mark}"] = peak_mb(process.pid)
                peaks["the end"] = peak_mb(process.pid)
        if process.wait() != 0:
            sys.exit(out.with_name("bar.txt").read_text("utf-8")[-2000:])
        bar.seek(0)
        return told, peaks, bar.read()


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--mark", type=int, default=30)
    parser.add_argument("--infer", default="", help="further options of `pro-engine infer`")
    chosen = parser.parse_args(arguments)
    width, height = map(int, chosen.size.split("x"))
    count = round(chosen.seconds * chosen.rate)
    with TemporaryDirectory() as folder:
        video, out = Path(folder) / "made.mp4", Path(folder) / "out"
        with VideoWriter(video) as writer:
            for number, frame in enumerate(frames(count, width, height)):
                writer.write(frame, number / chosen.rate)
        start = time.perf_counter()
        told, peaks, bar = infer(video, out, shlex.split(chosen.infer), chosen.mark)
        seconds = time.perf_counter() - start
        with open_video(out / "made.preview.mp4") as preview:
            shown = [number_in(frame.image()) for frame in preview]
        maps = len(list(out.glob("made.*.disparity.*")))
    wanted = list(range(1, count + 1))
    print(f"{width}x{height}, {count} frames, {seconds / count:.2f} s each: infer {chosen.infer}")
    print(f"told {len(told)}, maps {maps}, in order: told {told == wanted}, shown in the preview {shown == wanted}")
    print("peak memory: " + ", ".join(f"{value:.0f} MB at {name}" for name, value in peaks.items()))
    lines = re.findall(rf"made\.mp4.*? {count // 2}/{count} .*?left", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", bar))
    print(f"progress bar in the middle: {lines[-1] if lines else 'not shown'}")


if __name__ == "__main__":
    main()

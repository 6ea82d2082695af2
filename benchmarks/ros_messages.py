"""What the node's messages cost on this machine: decoding, filling, clouds, the filter of flying points.

    python benchmarks/ros_messages.py
    python benchmarks/ros_messages.py --json messages.json --runs 20

Wall time, median and best of several runs, and CPU time of the best, in milliseconds; all at 3840x2160 unless it says
otherwise. `fresh` fills memory that the system has just handed out, the other rows memory of the message before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

import pro_engine as pro
from ros2_pro.messages import camera_info, clouds, distortion, images
from ros2_pro.settings import PointsSettings

WIDTH, HEIGHT = 3840, 2160
LARGE = 1 << 21  # points: a quarter of the image


def rows() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured: a name and something to call."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (135, 240, 3), dtype=np.uint8)
    rgb = cv2.resize(small, (WIDTH, HEIGHT)).astype(np.uint8)
    depth = (3 + 2 * np.sin(np.linspace(0, 9, WIDTH)) + np.linspace(0, 1, HEIGHT)[:, None]).astype(np.float32)
    header = Header(frame_id="camera")
    yield "32FC1 message, fresh", lambda: images.image_message(depth, "32FC1", header)
    message = images.image_message(depth, "32FC1", header)
    yield "32FC1 message", lambda: images.image_message(depth, "32FC1", header, reuse=message)
    sensor = images.image_message(depth, "32FC1", header)
    yield "decode 32FC1 depth", lambda: images.decode_depth(sensor)
    yield "metres to millimetres", lambda: images.depth_to_millimetres(depth)
    wide, alpha = rgb.astype(np.uint16) * 256, cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
    for encoding, pixels in (
        ("rgb8", rgb), ("bgr8", rgb), ("rgba8", alpha), ("mono8", rgb[..., 0]), ("bayer_rggb8", rgb[..., 0]),
        ("uyvy", rgb[..., :2]), ("rgb16", wide), ("mono16", wide[..., 0]), ("16UC1", wide[..., 0]), ("32FC1", depth),
    ):  # fmt: skip
        raw = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=pixels[0].nbytes)
        raw.data.frombytes(pixels.tobytes())
        yield f"decode {encoding}", partial(images.decode_image, raw)
    for suffix in (".jpg", ".png"):
        packed = CompressedImage(format=suffix[1:])
        packed.data.frombytes(cv2.imencode(suffix, rgb)[1].tobytes())
        yield f"decode {suffix[1:]}", partial(images.decode_compressed, packed)
    straight = camera_info.guessed_lens(WIDTH, HEIGHT, 60)
    bend = distortion.Distortion((-0.2, 0.05, 0.001, -0.001, 0.0))
    matrix = (2500.0, 2500.0, WIDTH / 2, HEIGHT / 2)
    yield "rays of a distorted lens (once)", lambda: distortion.bent_slopes(matrix, WIDTH, HEIGHT, bend)
    bent = camera_info.CameraModel(
        straight.intrinsics, distortion.bent_slopes(matrix, WIDTH, HEIGHT, bend), False, (), bend
    )
    depth[500:1500, 1000:2500] /= 2
    depth = cv2.blur(depth, (6, 6)).astype(np.float32)  # outlines with flying points
    for name, lens, settings in (
        ("cloud, 2.07 M points", straight, PointsSettings(edge_filter=False, max_points=LARGE)),
        ("cloud, 2.07 M points, edge filter", straight, PointsSettings(max_points=LARGE)),
        ("cloud, 2.07 M points, dense", straight, PointsSettings(edge_filter=False, organized=False, max_points=LARGE)),
        ("cloud, 2.07 M points, distorted, edge filter", bent, PointsSettings(max_points=LARGE)),
        ("cloud, 8.29 M points", straight, PointsSettings(edge_filter=False, max_points=10 * LARGE)),
    ):
        last = clouds.cloud_message(clouds.build_cloud(depth, rgb, lens, settings), header)

        def build(
            lens: camera_info.CameraModel = lens, settings: PointsSettings = settings, last: object = last
        ) -> object:
            return clouds.cloud_message(clouds.build_cloud(depth, rgb, lens, settings), header, reuse=last)

        yield name, build
    quarter = np.ascontiguousarray(depth[::2, ::2])
    yield "flying points, 2.07 M", lambda: pro.flying_points(quarter)
    yield "disparity to metres", lambda: pro.disparity_to_depth(depth, pro.ScaleShift(0.1, 0.1))
    yield "preview of 1280 pixels", lambda: pro.colorize(cv2.resize(depth, (1280, 720), interpolation=cv2.INTER_AREA))


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}\n\n| | median (ms) | best (ms) | CPU of the best (ms) |\n|---|---|---|---|")
    figures = []
    for name, call in rows():
        call()
        runs = []
        for _ in range(given.runs):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            runs.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
        walls = [wall for wall, _ in runs]
        median = statistics.median(walls)
        figures.append({"name": name, "median_ms": median, "best_ms": min(walls), "cpu_ms": min(runs)[1]})
        row = figures[-1]
        print(f"| {name} | {row['median_ms']:.1f} | {row['best_ms']:.1f} | {row['cpu_ms']:.1f} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "rows": figures}, indent=1))


if __name__ == "__main__":
    main()

"""How many frames a second the ROS 2 node gives, and how late: camera, node and listener in three processes.

    python benchmarks/ros_rates.py                        # the table of docs/ros2.md
    python benchmarks/ros_rates.py --json rates.json --frames 20 --only compact

`none` is a model that takes no time, so its latency is that of transport, decoding and publishing; the others are
models of `pro-engine models`. Frames are asked for at a fixed rate, or each after the one before (rate 0). Metres are
fixed, so that depth, its camera info and a cloud of at most 2 million points are published where the table says so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ros2_pro.graph.transport import profile_variables

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "config" / "fastdds_64mb.xml"
SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
DEPTH, BOTH = ("depth/image_rect",), ("depth/image_rect", "points")
CASES = (
    # model, engine.refine, width, height, rate in Hz (0: one after the other), listeners
    ("none", "none", 1920, 1080, 15.0, DEPTH),
    ("none", "none", 3840, 2160, 2.0, DEPTH),
    ("none", "none", 3840, 2160, 0.0, DEPTH),
    ("none", "none", 3840, 2160, 0.0, BOTH),
    *(("compact", refine, *size, 0.0, DEPTH) for size in SIZES for refine in ("none", "trained")),
    ("compact", "trained", 3840, 2160, 0.0, BOTH),
    *(("hybrid", refine, 1920, 1080, 0.0, DEPTH) for refine in ("none", "trained")),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds, hertz and megabytes. `core_s`: processor time of the node for a frame."""

    model: str
    refine: str
    image: str
    outputs: str
    asked_hz: float
    sent: int
    received: int
    rate_hz: float
    latency_p50_s: float
    latency_p95_s: float
    core_s: float
    engine_s: float
    memory_mb: float


class _Instant:
    """In the place of a model: disparity falls from left to right."""

    name, device = "none", "cpu"

    def infer(self, image: Any, **_: Any) -> Any:
        import pro_engine as pro

        height, width = image.shape[:2]
        disparity = np.broadcast_to(np.linspace(1, 0.1, width, dtype=np.float32), (height, width)).copy()
        return pro.DepthResult(disparity, np.ones((height, width), dtype=np.bool_))


def _node() -> int:
    from ros2_pro.main import main

    argv = [argument for argument in sys.argv if argument != "--node"]
    return main(argv, load=(lambda *_, **__: _Instant()) if "engine.model:=none" in argv else None)


def _camera(width: int, height: int, rate_hz: float, frames: int, go_on: Any, sent: Any) -> None:
    """Publish frames at a rate, or each when `go_on` is released."""
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, Image

    rclpy.init()
    node = rclpy.create_node("camera")
    images = node.create_publisher(Image, "image", QoSProfile(depth=1))
    infos = node.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=1))
    info = CameraInfo(width=width, height=height)
    info.k = [float(width), 0.0, width / 2, 0.0, float(width), height / 2, 0.0, 0.0, 1.0]
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(noise.tobytes())
    message.header.frame_id = info.header.frame_id = "camera_optical"
    _wait(lambda: images.get_subscription_count() and infos.get_subscription_count(), 60)
    time.sleep(3)  # the node has to find the listener, too
    due = time.monotonic()
    for _ in range(frames):
        if rate_hz:
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1 / rate_hz
        else:
            go_on.acquire(timeout=60)
        message.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(message)
        sent.value += 1
    time.sleep(10)
    rclpy.shutdown()


def _wait(condition: Callable[[], Any], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            sys.exit("The node does not answer; see its output above.")
        time.sleep(0.05)


class _Listener:
    """Takes the maps and keeps when they came, how old they were, and what the node says of itself."""

    def __init__(self, topics: tuple[str, ...], go_on: Any, pid: int) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image, PointCloud2

        self.latencies: list[float] = []
        self.arrivals: list[float] = []
        self.used: list[float] = []
        self.state: dict[str, str] = {}
        self._go_on, self._pid = go_on, pid
        self.node = rclpy.create_node("listener")
        self.node.create_subscription(Image, "depth/image_rect", self._on_depth, QoSProfile(depth=1))
        if "points" in topics:
            self.node.create_subscription(PointCloud2, "points", lambda _: None, QoSProfile(depth=1))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_depth(self, message: Any) -> None:
        stamp = message.header.stamp
        self.latencies.append(self.node.get_clock().now().nanoseconds * 1e-9 - stamp.sec - 1e-9 * stamp.nanosec)
        self.arrivals.append(time.monotonic())
        self.used.append(_processor_s(self._pid))
        self._go_on.release()

    def _on_diagnostics(self, message: Any) -> None:
        self.state.update({item.key: item.value for item in message.status[0].values})


def _processor_s(pid: int) -> float:
    """Processor time of a process and its threads so far, on Linux; NaN elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(case: tuple[str, str, int, int, float, tuple[str, ...]], frames: int) -> Row:
    import rclpy

    model, refine, width, height, rate_hz, topics = case
    command = [sys.executable, __file__, "--node", "--ros-args", "-p", f"engine.model:={model}"]
    command += ["-p", "scale.mode:=fixed", "-p", "scale.shift:=3.0", "-p", f"engine.refine:={refine}"]
    process = subprocess.Popen(command)
    context = multiprocessing.get_context("spawn")
    go_on, sent = context.Semaphore(1), context.Value("i", 0)
    camera = context.Process(target=_camera, args=(width, height, rate_hz, frames, go_on, sent))
    rclpy.init()
    heard = _Listener(topics, go_on, process.pid)
    enough = threading.Event()

    def spin() -> None:
        while not enough.is_set():
            rclpy.spin_once(heard.node, timeout_sec=0.1)

    spinner = threading.Thread(target=spin)
    spinner.start()
    try:
        _wait(lambda: heard.state.get("model"), 300)  # images before it is loaded would be dropped
        camera.start()
        _wait(lambda: sent.value == frames or camera.exitcode is not None, 600)
        end = time.monotonic() + 15
        while len(heard.arrivals) < sent.value and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.5)  # one more of the diagnostics
    finally:
        enough.set()
        spinner.join()
        if camera.is_alive():
            camera.terminate()
        process.terminate()
        process.wait(20)
        heard.node.destroy_node()
        rclpy.shutdown()
    arrivals, used = heard.arrivals, heard.used
    ordered = sorted(heard.latencies[1:] or heard.latencies or [float("nan")])  # the first one warms up
    span = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else float("nan")
    return Row(
        model,
        refine,
        f"{width}x{height}",
        ", ".join(topics),
        rate_hz,
        sent.value,
        len(arrivals),
        (len(arrivals) - 1) / span,
        ordered[len(ordered) // 2],
        ordered[int(0.95 * (len(ordered) - 1))],
        (used[-1] - used[0]) / (len(used) - 1) if len(used) > 1 else float("nan"),
        float(heard.state.get("engine time (s)", "nan")),
        float(heard.state.get("memory (MB)", "nan")),
    )


def main() -> None:
    """Measure all cases and print a table in Markdown."""
    if "--node" in sys.argv:
        sys.exit(_node())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=12, help="images a case")
    parser.add_argument("--only", help="cases of this model alone")
    parser.add_argument(
        "--no-profile", action="store_true", help="without config/fastdds_64mb.xml, the launch files' own"
    )
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    given = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 9))  # tests are in 10 to 99
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not given.no_profile:
        os.environ.update(dict.fromkeys(profile_variables(os.environ), str(PROFILE)))
    rows = [_measure(case, given.frames) for case in CASES if given.only in (None, case[0])]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform(terse=True)}"
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    print(f"\n{machine}{'' if given.no_profile else ', 64 MB profile'}\n")
    names = "model", "refine", "image", "outputs", "asked (Hz)", "received", "rate (Hz)", "latency p50 / p95 (s)"
    print(_line(*names, "core-seconds", "model (s)", "MB"))
    print(_line(*["---"] * (len(names) + 3)))
    for row in rows:
        latency = f"{row.latency_p50_s:.2f} / {row.latency_p95_s:.2f}"
        cells = row.model, row.refine, row.image, row.outputs, row.asked_hz or "next", f"{row.received} of {row.sent}"
        rates = f"{row.rate_hz:.2f}", latency, f"{row.core_s:.2f}", f"{row.engine_s:.2f}", f"{row.memory_mb:.0f}"
        print(_line(*cells, *rates))


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()

"""What a second camera costs the ROS 2 node: rate of each, processor time of a frame, memory; and what a batch gains.

    python benchmarks/ros_cameras.py [--size 1280x720] [--seconds 10] [--rounds 3]

Each camera is a process of its own and sends its next frame when the depth of the one before has come, so no frame is
dropped and frames a core-second of the node do not depend on what else runs. One and two cameras take turns; given are
medians over the rounds. `engine.refine` is none. Linux.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from ros_rates import PROFILE, _line, _processor_s, _wait

from ros2_pro.graph.transport import profile_variables

NAMES = ("front", "left")
LOST_S = 10.0  # without depth, until the next frame is sent all the same
RUNS = 8  # passes of the model that are timed


def publish(name: str, width: int, height: int, go_on: Any) -> None:
    """A camera: a frame of noise each time `go_on` is released, until the process is ended."""
    import numpy as np
    import rclpy
    from rclpy.qos import QoSProfile
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("camera", namespace=name)
    images = node.create_publisher(Image, "image", QoSProfile(depth=1))
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.frame_id = name
    message.data.frombytes(np.random.default_rng(0).integers(0, 256, 3 * width * height, dtype=np.uint8).tobytes())
    while True:
        go_on.acquire(timeout=LOST_S)
        message.header.stamp = node.get_clock().now().to_msg()
        images.publish(message)


class Listener:
    """Takes the depth of all cameras, which lets them go on, and what the nodes say of themselves."""

    def __init__(self, go_on: dict[str, Any]) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        self._go_on = go_on
        self.came = dict.fromkeys(go_on, 0)
        self.state: dict[str, dict[str, str]] = {name: {} for name in go_on}
        self._node = rclpy.create_node("listener")
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for name in go_on:
            topic = f"{name}/depth/image_rect"
            self._node.create_subscription(Image, topic, lambda _, n=name: self._count(n), QoSProfile(depth=1))
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._enough.set()
        self._thread.join()
        self._node.destroy_node()

    def _count(self, name: str) -> None:
        self.came[name] += 1
        self._go_on[name].release()

    def _spin(self) -> None:
        import rclpy

        while not self._enough.is_set():
            rclpy.spin_once(self._node, timeout_sec=0.1)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            self.state[status.name.split("/")[1]].update({item.key: item.value for item in status.values})


def measure(names: Sequence[str], size: tuple[int, int], seconds: float) -> tuple[list[float], ...]:
    """For each camera frames a second and frames a core-second of the node; and its memory in MB."""
    import rclpy

    rclpy.init()
    parameters = {"cameras": f"[{','.join(names)}]", "scale.mode": "fixed", "scale.shift": "3.0"}
    parameters |= {"engine.refine": "none", "engine.device": "cpu"}
    command = [sys.executable, "-m", "ros2_pro.main", "--ros-args"]
    node = subprocess.Popen([*command, *(part for item in parameters.items() for part in ("-p", ":=".join(item)))])
    context = multiprocessing.get_context("spawn")
    go_on = {name: context.Semaphore(1) for name in names}
    heard = Listener(go_on)
    cameras = [context.Process(target=publish, args=(name, *size, go_on[name]), daemon=True) for name in names]
    try:
        _wait(lambda: all(state.get("model") for state in heard.state.values()), 300)
        for camera in cameras:
            camera.start()
        _wait(lambda: min(heard.came.values()) > 3, 60)  # the first ones warm up
        begun_s, used_s, before = time.monotonic(), _processor_s(node.pid), dict(heard.came)
        time.sleep(seconds)
        frames = [heard.came[name] - before[name] for name in names]
        passed_s, used_s = time.monotonic() - begun_s, _processor_s(node.pid) - used_s
        memory_mb = max(float(state["memory (MB)"]) for state in heard.state.values())
    finally:
        for camera in cameras:
            camera.terminate()
        node.terminate()
        node.wait(20)
        heard.close()
        rclpy.shutdown()
    return [count / passed_s for count in frames], [count / used_s for count in frames], [memory_mb]


def batch_gain() -> float:
    """Processor time of two passes of one picture, for one pass of two."""
    import torch

    import pro_engine as pro
    from pro_engine.inference.tiling import input_size

    psi = pro.load_model("compact", device="cpu").psi
    height, width = input_size(720, 1280, psi.spec)
    pictures = torch.rand(2, 3, height, width)
    used = {}
    with torch.inference_mode():
        for batch in (1, 2):
            psi(pictures[:batch])
            begun_s = time.process_time()
            for start in [*range(0, 2, batch)] * RUNS:
                psi(pictures[start : start + batch])
            used[batch] = time.process_time() - begun_s
    return used[1] / used[2]


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 9))  # tests are in 10 to 99
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.update(dict.fromkeys(profile_variables(os.environ), str(PROFILE)))
    width, height = map(int, given.size.split("x"))
    print(f"two passes of the model take {batch_gain():.2f} times the processor time of one pass of two\n")
    print(_line("cameras", "camera", "rate (Hz)", "of one camera's", "frames a core-second", "of one camera's", "MB"))
    print(_line(*["---"] * 7))
    rounds: dict[int, list[tuple[list[float], ...]]] = {1: [], 2: []}
    for _ in range(given.rounds):
        for names in (NAMES[:1], NAMES):
            rounds[len(names)].append(measure(names, (width, height), given.seconds))
    alone = [statistics.median(found[part][0] for found in rounds[1]) for part in (0, 1)]
    for count, all_found in rounds.items():
        memory_mb = statistics.median(found[2][0] for found in all_found)
        for index, name in enumerate(NAMES[:count]):
            rate, core = (statistics.median(found[part][index] for found in all_found) for part in (0, 1))
            cells = f"{rate:.2f}", f"{rate / alone[0]:.2f}", f"{core:.2f}", f"{core / alone[1]:.2f}", f"{memory_mb:.0f}"
            print(_line(count, name, *cells))


if __name__ == "__main__":
    main()

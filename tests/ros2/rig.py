"""A real ROS graph for tests: the node in a process of its own, and a camera and listeners in this one.

Everything stays on this machine, in a domain of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from domain import own_domain

os.environ["ROS_DOMAIN_ID"] = str(own_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

from ros2_pro.graph.publishers import TOPICS  # noqa: E402

HERE = Path(__file__).parent
PATIENCE_S = 60.0  # for what comes at once unless something is broken, on a machine with other work
ASK_AGAIN_S = 5.0
OFTEN = {"STUB_REPORT_S": "0.1"}  # diagnostics ten times a second, for tests that wait for them
OUTPUTS = {
    "depth/image_rect": Image,
    "depth/camera_info": CameraInfo,
    "relative_disparity": Image,
    "points": PointCloud2,
    "preview": Image,
}
RARE = {topic: kind for kind, topic, _ in TOPICS.values() if topic not in OUTPUTS}


def qos(reliability: str = "reliable", depth: int = 1) -> QoSProfile:
    """Keep last, as cameras publish."""
    kind = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=kind)


def wait_for(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """What the condition gives as soon as it is true; falsy after the time is over."""
    end = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


class NodeProcess:
    """A node in a process; its output is kept in a file."""

    def __init__(
        self,
        folder: Path,
        command: list[str],
        env: dict[str, str] | None = None,
        wishes: dict[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log.txt"
        self._stub = folder / "stub.json"
        self.wish(**(wishes or {}))
        self.env = {**os.environ, "STUB": str(self._stub), "PYTHONUNBUFFERED": "1", **(env or {})}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=subprocess.STDOUT)

    def wish(self, **wishes: Any) -> None:
        """What the stub's model shall do from the next frame on."""
        part = self._stub.with_suffix(".part")
        part.write_text(json.dumps(wishes))
        part.replace(self._stub)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the stub's loader ("load") or model ("infer", "passed" where a pass ends) was called with, in order."""
        path = self._stub.with_suffix(".events")
        lines = path.read_text().splitlines() if path.is_file() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def text(self) -> str:
        """All it said."""
        return self.log.read_text(errors="replace")

    def resident_mb(self) -> float:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def end(self, number: int = signal.SIGINT, timeout_s: float = PATIENCE_S) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def stub_command(namespace: str, **parameters: Any) -> list[str]:
    """How to start the node with the stub's model in a namespace; dots of parameters as two underscores."""
    return [sys.executable, str(HERE / "stub_node.py"), *ros_arguments(namespace, **parameters)]


def ros_arguments(namespace: str, **parameters: Any) -> list[str]:
    """The part of a command that is the same for every node."""
    arguments = ["--ros-args", "-r", f"__ns:={namespace}"]
    for name, value in parameters.items():
        value = json.dumps(value) if isinstance(value, (list, bool)) else value
        arguments += ["-p", f"{name.replace('__', '.')}:={value}"]
    return arguments


class Rig:
    """A camera (unless told not), listeners and clients around one node, in this process; spins in a thread."""

    def __init__(self, namespace: str, outputs: tuple[str, ...] = (), *, camera: bool = True) -> None:
        self.namespace = namespace
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("rig", namespace=namespace, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.diagnostics: list[dict[str, str]] = []
        self.levels: list[tuple[int, str]] = []
        self._clients: dict[str, Any] = {}
        self.report_stamps_s: list[float] = []  # when the node made each of the diagnostics, by its clock
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for topic in outputs:
            self.listen(topic)
        self._camera = camera
        if camera:
            self.image = self.node.create_publisher(Image, "image", qos())
            self.info = self.node.create_publisher(CameraInfo, "camera_info", qos())
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._closing = False
        self._thread.start()

    def listen(self, topic: str, reliability: str = "reliable", depth: int = 5) -> Any:
        """Subscribe to an output of the node."""
        keep = self.received[topic].append
        return self.node.create_subscription((OUTPUTS | RARE)[topic], topic, keep, qos(reliability, depth))

    def drop(self, entity: Any) -> None:
        """Destroy a publisher or a subscription: by the thread that spins, as rclpy may be waiting for it otherwise."""
        is_publisher = entity in list(self.node.publishers)
        destroy = self.node.destroy_publisher if is_publisher else self.node.destroy_subscription
        task = self.executor.create_task(destroy, entity)
        assert wait_for(task.done) and task.result(), "it is not the node's"

    def ready(self, timeout_s: float = PATIENCE_S, *, topic: str = "image") -> None:
        """Wait until the node listens and its outputs are found."""
        assert wait_for(lambda: self.node.count_subscribers(topic), timeout_s), "the node does not listen"
        topics = [topic for topic in OUTPUTS | RARE if topic in self.received]
        assert wait_for(lambda: all(self.node.count_publishers(topic) for topic in topics), timeout_s)
        assert not self._camera or wait_for(self.info.get_subscription_count, timeout_s), "the camera has no listener"
        time.sleep(0.3)  # the node has to find our subscriptions, too

    def stamp(self) -> Any:
        """Now."""
        return self.node.get_clock().now().to_msg()

    def take(self, topic: str, count: int, timeout_s: float = PATIENCE_S) -> list[Any]:
        """The messages of a topic once there are `count`, or those that came in time."""
        wait_for(lambda: len(self.received[topic]) >= count, timeout_s)
        return list(self.received[topic])

    def counts(self, *, fresh: bool = True) -> dict[str, int]:
        """The node's counters by cause; fresh: of a report made after this call."""
        if fresh:
            seen = len(self.diagnostics)
            assert wait_for(lambda: len(self.diagnostics) > seen + 1), "no diagnostics"
        prefix = "count "
        return {key[len(prefix) :]: int(value) for key, value in self.diagnostics[-1].items() if key.startswith(prefix)}

    def report(
        self, until: Callable[[dict[str, str]], Any] = lambda report: True, timeout_s: float = PATIENCE_S
    ) -> Any:
        """The first of the diagnostics made after this call of which `until` is true."""
        asked_s = time.time()

        def found() -> dict[str, str] | None:
            fresh = [r for r, s in zip(self.diagnostics, self.report_stamps_s, strict=False) if s >= asked_s]
            return next(filter(until, fresh), None)

        report = wait_for(found, timeout_s)
        assert report, f"no such diagnostics; the newest: {self.diagnostics[-1:]}"
        return report

    def call(self, kind: Any, service: str, request: Any, timeout_s: float = PATIENCE_S, *, again: bool = False) -> Any:
        """The answer of a service of the node, by its name behind `pro/`.

        An answer is lost where the node has not yet found the client; what may be asked twice is (`again`).
        """
        client = self._clients.get(service) or self.node.create_client(kind, f"pro/{service}")
        self._clients[service] = client
        assert client.wait_for_service(timeout_s), f"no service {service}"
        futures: list[Any] = []

        def answer() -> Any:
            if again or not futures:
                futures.append(client.call_async(request))
            done = wait_for(lambda: [future for future in futures if future.done()], ASK_AGAIN_S)
            return done and done[0]

        answered = wait_for(answer, timeout_s)
        assert answered, f"no answer of {service}"
        return answered.result()

    def _ask(self, kind: Any, service: str, request: Any) -> Any:
        return self.call(kind, service, request, again=True)

    def set(self, **parameters: Any) -> list[Any]:
        """Set parameters (dots as two underscores); the results."""
        given = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        request = SetParameters.Request(parameters=[parameter.to_parameter_msg() for parameter in given])
        return list(self._ask(SetParameters, "set_parameters", request).results)

    def get(self, *names: str) -> list[Any]:
        """Values of parameters."""
        answer = self._ask(GetParameters, "get_parameters", GetParameters.Request(names=list(names)))
        return [rclpy.parameter.parameter_value_to_python(value) for value in answer.values]

    def parameter_names(self) -> list[str]:
        """All parameters of the node."""
        return list(self._ask(ListParameters, "list_parameters", ListParameters.Request()).result.names)

    def describe(self, names: list[str]) -> list[Any]:
        """Descriptors of parameters."""
        request = DescribeParameters.Request(names=names)
        return list(self._ask(DescribeParameters, "describe_parameters", request).descriptors)

    def close(self) -> None:
        """Leave the graph."""
        self._closing = True
        self._thread.join(PATIENCE_S)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _spin(self) -> None:
        while not self._closing:
            self.executor.spin_once(timeout_sec=0.05)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(f"{self.namespace}/"):
                self.diagnostics.append({item.key: item.value for item in status.values})
                self.levels.append((status.level[0], status.message))
                self.report_stamps_s.append(message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec)


class Camera:
    """A camera of its own in the graph, which publishes small images at a rate until it is closed."""

    def __init__(
        self,
        namespace: str,
        reliability: str = "reliable",
        *,
        rate_hz: float = 10.0,
        frame_id: str = "camera_optical",
        topic: str = "image",
    ) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("camera", namespace=namespace, context=self._context)
        self._publisher = self._node.create_publisher(Image, topic, qos(reliability))
        self._message = camera_image()
        self._message.header.frame_id = frame_id
        self._closing = threading.Event()
        self.started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(1 / rate_hz,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._closing.set()
        self._thread.join(PATIENCE_S)
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _run(self, period_s: float) -> None:
        while not self._closing.wait(period_s):
            self._message.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(self._message)


def camera_image(width: int = 64, height: int = 48, *, stamp: Any = None, seed: int = 0) -> Any:
    """A textured rgb8 image."""
    data = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.frame_id = "camera_optical"
    if stamp is not None:
        message.header.stamp = stamp
    message.data.frombytes(data.tobytes())
    return message


def camera_info(width: int = 64, height: int = 48, *, focal_px: float = 50.0, stamp: Any = None) -> Any:
    """A centred pinhole camera."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [focal_px, 0.0, cx, 0.0, focal_px, cy, 0.0, 0.0, 1.0]
    message.p = [focal_px, 0.0, cx, 0.0, 0.0, focal_px, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.header.frame_id = "camera_optical"
    if stamp is not None:
        message.header.stamp = stamp
    return message

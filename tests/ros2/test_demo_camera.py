"""The demo camera in a process of its own, and its faults under the eyes of the node's readers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rig import PATIENCE_S, qos, wait_for
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

import pro_engine as pro
from ros2_pro.demo.faults import FAULTS, Capture, faults_from
from ros2_pro.demo.node import SENSOR_RANGE_M, camera_info, seen_by_sensor
from ros2_pro.demo.scene import DemoScene
from ros2_pro.faults import CAUSES, MessageError
from ros2_pro.messages import images
from ros2_pro.messages.camera_info import lens_from_info

graph = pytest.mark.flaky(reruns=1)  # a real one: DDS may lose what is sent while its parts find each other

SCRIPT = Path(__file__).parents[2] / "scripts/demo_camera"
TOPICS = {
    "image": Image,
    "camera_info": CameraInfo,
    "image/compressed": CompressedImage,
    "depth_truth": Image,
    "sensor/depth": Image,
}


def command(namespace: str, **parameters: Any) -> list[str]:
    given = [text for name, value in parameters.items() for text in ("-p", f"{name}:={value}")]
    return [sys.executable, str(SCRIPT), "--ros-args", "-r", f"__ns:={namespace}", *given]


class Listener:
    """Keeps what comes on the camera's topics, by topic and stamp."""

    def __init__(self, namespace: str, reliability: str = "reliable") -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("listener", namespace=namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.came: dict[str, dict[tuple[int, int], Any]] = {topic: {} for topic in TOPICS}
        for topic, kind in TOPICS.items():
            self.node.create_subscription(kind, topic, self._keeper(topic), qos(reliability, 10))

    def _keeper(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            self.came[topic][(message.header.stamp.sec, message.header.stamp.nanosec)] = message

        return keep

    def until(self, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """Spin until the condition holds; what it gave."""

        def look() -> Any:
            self._executor.spin_once(timeout_sec=0.05)
            return condition()

        return wait_for(look, timeout_s)

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def listener(namespace: str) -> Iterator[Listener]:
    made = Listener(namespace)
    yield made
    made.close()


@graph
def test_all_topics_of_a_picture_have_one_header(start: Callable[..., Any], listener: Listener, namespace: str) -> None:
    process = start(command(namespace, width=320, height=180, rate_hz=5, compressed="true", fov_x_deg=70))
    came = listener.came

    def common() -> set[tuple[int, int]]:
        return set.intersection(*(set(messages) for messages in came.values()))

    assert listener.until(lambda: len(common()) >= 2), process.text()
    stamp = max(common())
    image, info, compressed, truth, sensor = (came[topic][stamp] for topic in TOPICS)
    assert {message.header.frame_id for message in (image, info, compressed, truth, sensor)} == {"camera_optical_frame"}
    assert (image.width, image.height, image.encoding, image.step) == (320, 180, "bgr8", 960)

    picture = images.decode_image(image).image
    np.testing.assert_allclose(images.decode_compressed(compressed).image.mean(), picture.mean(), atol=1)
    lens = pro.Intrinsics.from_matrix(np.reshape(info.k, (3, 3)), info.width, info.height)
    assert lens == pro.Intrinsics.from_fov(320, 180, fov_x_deg=70)
    assert np.reshape(info.p, (3, 4))[:, :3].ravel().tolist() == list(info.k)

    depth = np.frombuffer(truth.data, np.float32).reshape(180, 320)
    scene = DemoScene(lens)
    moving = np.mean(depth != scene.render(0.0)[1])
    assert 0 < moving < 0.2  # the balls have gone on, the rest stands still
    small = np.frombuffer(sensor.data, np.float32).reshape(sensor.height, sensor.width)
    assert (sensor.width, sensor.height) == (160, 90)
    near = np.isfinite(small)
    ratio = small[near] / depth[1::2, 1::2][near]
    assert 0.3 < near.mean() < 0.95 and abs(np.median(ratio) - 1) < 0.01
    assert process.end() == 0, process.text()


@graph
def test_best_effort_is_offered_where_it_is_asked_for(
    start: Callable[..., Any], listener: Listener, namespace: str
) -> None:
    start(command(namespace, width=32, height=32, rate_hz=5, reliability="best_effort"))
    topic = f"{namespace}/image"
    (info,) = listener.until(lambda: listener.node.get_publishers_info_by_topic(topic))
    assert info.qos_profile.reliability == rclpy.qos.ReliabilityPolicy.BEST_EFFORT


@graph
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_cleanly(start: Callable[..., Any], listener: Listener, namespace: str, number: int) -> None:
    process = start(command(namespace, width=64, height=36, rate_hz=20))
    assert listener.until(lambda: listener.came["image"]), process.text()
    process.process.send_signal(number)
    assert process.end(number) == 0, process.text()
    assert "Traceback" not in process.text()


@graph
def test_it_ends_after_the_last_picture(
    start: Callable[..., Any], listener: Listener, namespace: str, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        assert cv2.imwrite(str(tmp_path / name), np.zeros((48, 64, 3), np.uint8))
    process = start(command(namespace, source=tmp_path, loop="false", rate_hz=10))
    assert process.process.wait(PATIENCE_S) == 0, process.text()


@graph
def test_it_ends_only_when_the_last_picture_has_been_received(
    start: Callable[..., Any], listener: Listener, namespace: str, tmp_path: Path
) -> None:
    assert cv2.imwrite(str(tmp_path / "0.png"), np.zeros((720, 1280, 3), np.uint8))
    assert cv2.imwrite(str(tmp_path / "z.png"), np.full((720, 1280, 3), 200, np.uint8))
    for name in range(200):  # for as long as the two need to find each other
        (tmp_path / f"{name:03}.png").hardlink_to(tmp_path / "0.png")
    process = start(command(namespace, source=tmp_path, loop="false", rate_hz=1000))
    came = listener.came["image"]
    assert listener.until(lambda: process.process.poll() is not None)
    assert process.process.returncode == 0, process.text()
    listener.until(lambda: came and came[max(came)].data[0] == 200, 5.0)
    assert came[max(came)].data[0] == 200


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"source": "/nowhere.jpg"}, "/nowhere.jpg"),
        ({"rate_hz": 0}, "rate_hz is 0.0; give a number from 0.01 to 1000."),
        ({"width": "wide"}, "width is 'wide'; give a whole number from 0 to 16384."),
        ({"encoding": "yuv"}, "encoding is 'yuv'; give bgr8, rgb8"),
        ({"faults": "bad_luck"}, "faults names 'bad_luck'; give none, cycle, or some of bad_encoding"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    start: Callable[..., Any], namespace: str, parameters: dict[str, Any], words: str
) -> None:
    process = start(command(namespace, **parameters))
    assert process.process.wait(PATIENCE_S) == 2
    lines = [line for line in process.text().splitlines() if "[INFO]" not in line]
    assert len(lines) == 1 and lines[0].startswith("demo_camera: ") and words in lines[0], lines


@graph
def test_faults_come_in_turn(start: Callable[..., Any], listener: Listener, namespace: str) -> None:
    process = start(
        command(namespace, width=64, height=36, rate_hz=10, faults="padded_rows,bad_encoding", fault_every=2)
    )
    came = listener.came["image"]
    assert listener.until(lambda: len(came) >= 10), process.text()
    steps = [(image.step, image.encoding) for _, image in sorted(came.items())]
    first = next(at for at, (step, _) in enumerate(steps) if step != 192)
    assert steps[first : first + 5] == [
        (224, "bgr8"), (192, "bgr8"), (192, "rgb🙂"), (192, "bgr8"), (224, "bgr8"),
    ]  # fmt: skip


# What one message shows by itself; the rest needs the message before it, or the clock.
READ_BY_CODEC = (
    "bad_encoding", "short_data", "extra_data", "bad_step", "padded_rows", "empty_image", "too_large", "big_endian",
    "nonfinite_input", "featureless",
)  # fmt: skip
READ_BY_CAMERA = ("bad_camera_info", "camera_info_scaled", "unequal_focal", "distorted", "unknown_distortion")


def shot(width: int = 64, height: int = 36) -> Capture:
    """A good picture of the scene."""
    lens = pro.Intrinsics.from_fov(width, height, fov_x_deg=60)
    header = Image().header
    header.frame_id, header.stamp.sec = "camera_optical_frame", 100
    made = Capture(images.image_message(DemoScene(lens).render(0.0)[0], "rgb8", header), camera_info(lens, header))
    made.image.header, made.info.header = Image().header, Image().header
    for message in (made.image, made.info):
        message.header.frame_id, message.header.stamp.sec = "camera_optical_frame", 100
    made.compressed = CompressedImage(format="jpeg")
    return made


def seen(made: Capture) -> set[str]:
    """The causes that the node's readers find in the messages."""
    found: set[str] = set()
    try:
        found |= set(images.decode_image(made.image).notes)
    except MessageError as error:
        found.add(error.cause)
    if made.info is not None:
        try:
            found |= set(lens_from_info(made.info, 64, 36, rectified=False).notes)
        except MessageError as error:
            found.add(error.cause)
    return found


def test_a_good_picture_has_no_fault() -> None:
    assert seen(shot()) == set()


@pytest.mark.parametrize("fault", [*READ_BY_CODEC, *READ_BY_CAMERA])
def test_a_fault_is_read_as_what_it_is_named(fault: str) -> None:
    made = shot()
    FAULTS[fault](made)
    assert seen(made) == {fault}


def test_faults_that_are_seen_beside_other_messages() -> None:
    def faulty(fault: str) -> Capture:
        made = shot()
        FAULTS[fault](made)
        return made

    assert (faulty("too_small").image.width, faulty("too_small").image.height) == (1, 1)
    assert (faulty("size_changed").image.width, faulty("size_changed").image.height) == (33, 19)
    assert faulty("encoding_changed").image.encoding == "mono8"
    for fault in ("too_small", "size_changed", "encoding_changed"):
        assert images.decode_image(faulty(fault).image).image.shape[2] == 3
    assert faulty("no_camera_info").info is None
    assert faulty("camera_info_late").info.header.stamp.sec == 90
    assert faulty("empty_frame_id").image.header.frame_id == ""
    assert faulty("time_jump").image.header.stamp.sec == 0
    whole = shot()
    whole.compressed.data.frombytes(bytes(range(256)) * 4)
    FAULTS["bad_compressed"](whole)
    with pytest.raises(MessageError) as caught:
        images.decode_compressed(whole.compressed)
    assert caught.value.cause == "bad_compressed"


def test_every_fault_is_a_cause_and_the_cycle_has_all() -> None:
    assert set(FAULTS) <= set(CAUSES)
    assert len(FAULTS) >= 20
    cycle = faults_from("cycle")
    assert cycle is not None
    assert [next(cycle) for _ in range(len(FAULTS) + 1)] == [*FAULTS, next(iter(FAULTS))]
    assert faults_from("none") is None


def test_the_sensor_is_noisy_and_short_sighted() -> None:
    depth = np.full((720, 1280), 4.0, np.float32)
    depth[:, 640:] = SENSOR_RANGE_M * 1.2
    depth[:100] = np.inf
    small = seen_by_sensor(depth, np.random.default_rng(1))
    assert small.shape == (90, 160) and small.dtype == np.float32
    assert np.isnan(small[:, 80:]).all() and np.isnan(small[:12]).all()
    values = small[13:, :80]
    assert abs(values.mean() - 4) < 0.01 and 0.03 < values.std() < 0.05

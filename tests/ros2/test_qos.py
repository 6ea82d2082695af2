"""Quality of service: images are received however and whenever a camera publishes them, and outputs are reliable."""

from __future__ import annotations

import contextlib
import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import ReliabilityPolicy
from rig import OFTEN, PATIENCE_S, Camera, Rig, camera_image, qos, rclpy, stub_command, wait_for
from sensor_msgs.msg import Image

from ros2_pro.graph.adaptive_subscription import AdaptiveSubscription
from ros2_pro.graph.publishers import TOPICS

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

BOTH = ("reliable", "best_effort")


@pytest.fixture
def open_all():
    """Open something that has `close`; it is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda made: stack.enter_context(contextlib.closing(made))


class Watch(Rig):
    """Sees results."""

    def __init__(self, namespace):
        super().__init__(namespace, ("relative_disparity",), camera=False)
        self.ready()

    def sees(self, frame_id):
        """Whether there is a result of a camera."""
        return wait_for(lambda: any(m.header.frame_id == frame_id for m in self.received["relative_disparity"]))


def arrives(rig, reliability, number=0):
    """Start a camera and end it; whether its images are received."""
    frame_id = f"camera{number}"
    with contextlib.closing(Camera(rig.namespace, reliability, frame_id=frame_id)):
        rig.report(lambda report: report[f"QoS of {rig.namespace}/image"].startswith(reliability))
        return rig.sees(frame_id)


def test_a_camera_that_starts_after_the_node_is_received(start, namespace, open_all):
    for reliability in BOTH:
        start(stub_command(f"{namespace}/{reliability}"), OFTEN)
    for reliability in BOTH:
        rig = open_all(Watch(f"{namespace}/{reliability}"))
        rig.report(lambda report: report["state"] == "active")
        assert arrives(rig, reliability), reliability


def test_a_camera_that_was_there_first_is_received(start, namespace, open_all):
    for reliability in BOTH:
        open_all(Camera(f"{namespace}/{reliability}", reliability))
        start(stub_command(f"{namespace}/{reliability}"), OFTEN)
    for reliability in BOTH:
        assert open_all(Watch(f"{namespace}/{reliability}")).sees("camera_optical"), reliability


def test_a_camera_that_restarts_with_the_other_reliability_is_received_again(start, namespace, open_all):
    start(stub_command(namespace), OFTEN)
    rig = open_all(Watch(namespace))
    assert all(arrives(rig, BOTH[number % 2], number) for number in range(5))
    assert rig.counts()["resubscribed"] == 4


def test_two_cameras_of_both_kinds_are_both_received_and_told_of(start, namespace, open_all):
    start(stub_command(namespace), OFTEN)
    rig = open_all(Watch(namespace))
    for reliability in BOTH:
        open_all(Camera(namespace, reliability, frame_id=reliability))
    for reliability in BOTH:
        assert rig.sees(reliability)
    rig.report(lambda report: report["count several_publishers"] == "1")


def test_a_fixed_reliability_is_held(start, namespace, open_all):
    start(stub_command(namespace, input__reliability="best_effort"), OFTEN)
    rig = open_all(Watch(namespace))
    open_all(Camera(namespace, "reliable"))
    assert rig.sees("camera_optical")
    listeners = rig.node.get_subscriptions_info_by_topic(f"{namespace}/image")
    (ours,) = [listener.qos_profile for listener in listeners if listener.node_name == "pro"]
    assert ours.reliability == ReliabilityPolicy.BEST_EFFORT and not rig.counts()["resubscribed"]


def test_outputs_are_reliable_and_keep_the_last_one_unless_overridden(start, namespace, open_all):
    override = f"qos_overrides./{namespace.strip('/')}/relative_disparity.publisher"
    start(stub_command(namespace, **{f"{override}.reliability": "best_effort", f"{override}.depth": 3}), OFTEN)
    rig = open_all(Rig(namespace, tuple(topic for _, topic, _ in TOPICS.values())))
    rig.ready()
    for _, topic, _ in TOPICS.values():
        name = f"{namespace}/{topic}"
        (publisher,) = rig.node.get_publishers_info_by_topic(name)
        of_topic = f"qos_overrides.{name}.publisher"
        asked = rig.get(f"{of_topic}.reliability", f"{of_topic}.history", f"{of_topic}.depth")
        wanted = ["best_effort", "keep_last", 3] if topic == "relative_disparity" else ["reliable", "keep_last", 1]
        assert asked == wanted, topic
        assert publisher.qos_profile.reliability.name.lower() == wanted[0], topic


@pytest.mark.parametrize("reliability", BOTH)
def test_only_the_newest_image_waits_for_the_executor(namespace, reliability):
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        camera, witness, ours = (
            rclpy.create_node(name, namespace=namespace, context=context) for name in ("camera", "witness", "ours")
        )
        publisher = camera.create_publisher(Image, "image", qos(reliability, depth=10))
        seen, taken = [], []
        witness.create_subscription(Image, "image", seen.append, qos("best_effort", depth=10))
        subscription = AdaptiveSubscription(ours, Image, "image", taken.append)

        def fits():
            subscription.adapt()
            return subscription.reliability == reliability and publisher.get_subscription_count() == 2

        assert wait_for(fits)
        for number in range(5):
            publisher.publish(camera_image(seed=number))
        spin(witness, lambda: len(seen) == 5)
        spin(ours, lambda: taken)
        spin(ours, lambda: len(taken) > 1, timeout_s=0.2)
        assert len(seen) == 5 and len(taken) == 1 and taken[0].data == camera_image(seed=4).data
    finally:
        rclpy.shutdown(context=context)


def spin(node, until, timeout_s=PATIENCE_S):
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = time.monotonic() + timeout_s
    while not until() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()


def test_two_nodes_in_namespaces_do_not_touch_each_other(start, namespace, open_all):
    first, second = f"{namespace}/first", f"{namespace}/second"
    rigs = []
    for name in (first, second):
        start(stub_command(name), OFTEN)
        rigs.append(open_all(Rig(name, ("relative_disparity",))))
    for rig in rigs:
        rig.ready()
    busy, idle = rigs
    assert all(result.successful for result in busy.set(points__stride=7, scale__mode="fixed"))
    assert busy.get("points.stride", "scale.mode") == [7, "fixed"]
    assert idle.get("points.stride", "scale.mode") == [1, "none"]

    def looked():
        busy.image.publish(camera_image(stamp=busy.stamp()))
        return wait_for(lambda: busy.received["relative_disparity"], 1.0)

    assert wait_for(looked)
    assert int(idle.report()["frames received"]) == 0 and not idle.received["relative_disparity"]

    def lone_topics():
        """Topics of one of the two that the other lacks, or that belong to neither."""
        names = {name for name, _ in busy.node.get_topic_names_and_types() if name.startswith(namespace)}
        assert {f"{name}/relative_disparity" for name in (first, second)} <= names
        alone = {name.removeprefix(first).removeprefix(second) for name in names}
        return {name for name in alone if not {first + name, second + name} <= names}

    assert wait_for(lambda: not lone_topics()), lone_topics()  # the graph is told bit by bit

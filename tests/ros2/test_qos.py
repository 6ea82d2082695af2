"""Quality of service: images are received however and whenever a camera publishes them, and outputs are reliable."""

from __future__ import annotations

import contextlib
import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import ReliabilityPolicy
from rig import Camera, Rig, camera_image, qos, rclpy, stub_command, wait_for
from sensor_msgs.msg import Image

from ros2_pro.outputs import TOPICS
from ros2_pro.subscription import AdaptiveSubscription

BOTH = ("reliable", "best_effort")
ARRIVES_WITHIN_S = 2.0
CAMERA_LATER_S = 3.0


@pytest.fixture
def open_all():
    """Open something that has `close`; it is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda made: stack.enter_context(contextlib.closing(made))


def first_from(rig, frame_id, timeout_s=15.0):
    """Time of `time.monotonic` when the first result of a camera was there."""
    came = wait_for(lambda: [m for m in rig.received["disparity"] if m.header.frame_id == frame_id], timeout_s)
    assert came, f"nothing of {frame_id} was received; {rig.diagnostics[-1:]}"
    return time.monotonic()


def watched(open_all, namespace):
    rig = open_all(Rig(namespace, ("disparity",), camera=False))
    rig.ready()
    return rig


def test_a_camera_that_starts_3_s_after_the_node_is_received_within_2_s(start, namespace, open_all):
    begun_s = time.monotonic()
    for reliability in BOTH:
        start(stub_command(f"{namespace}/{reliability}"))
    rigs = {reliability: watched(open_all, f"{namespace}/{reliability}") for reliability in BOTH}
    time.sleep(max(0.0, begun_s + CAMERA_LATER_S - time.monotonic()))
    for reliability, rig in rigs.items():
        camera = open_all(Camera(rig.namespace, reliability))
        took_s = first_from(rig, "camera_optical") - camera.started_s
        assert took_s <= ARRIVES_WITHIN_S, f"{reliability}: {took_s:.2f} s"


def test_a_camera_that_was_there_first_is_received(start, namespace, open_all):
    for reliability in BOTH:
        open_all(Camera(f"{namespace}/{reliability}", reliability))
        start(stub_command(f"{namespace}/{reliability}"))
    for reliability in BOTH:
        rig = watched(open_all, f"{namespace}/{reliability}")
        ready_s = time.monotonic()
        assert first_from(rig, "camera_optical") - ready_s <= ARRIVES_WITHIN_S


def test_a_camera_that_restarts_with_the_other_reliability_is_received_again(start, namespace, open_all):
    start(stub_command(namespace))
    rig = watched(open_all, namespace)
    for number, reliability in enumerate(("reliable", "best_effort", "reliable")):
        camera = Camera(namespace, reliability, frame_id=f"camera{number}")
        try:
            took_s = first_from(rig, f"camera{number}") - camera.started_s
            rig.report(lambda report, r=reliability: report[f"QoS of {namespace}/image"].startswith(r))
        finally:
            camera.close()
        assert took_s <= ARRIVES_WITHIN_S, f"start {number}, {reliability}: {took_s:.2f} s"
    assert rig.counts()["resubscribed"] == 2


def test_two_cameras_of_both_kinds_are_both_received_and_told_of(start, namespace, open_all):
    start(stub_command(namespace))
    rig = watched(open_all, namespace)
    for reliability in BOTH:
        open_all(Camera(namespace, reliability, frame_id=reliability))
    for reliability in BOTH:
        first_from(rig, reliability)
    assert rig.counts()["several_publishers"] == 1


def test_a_fixed_reliability_is_held(start, namespace, open_all):
    start(stub_command(namespace, input__reliability="best_effort"))
    rig = watched(open_all, namespace)
    open_all(Camera(namespace, "reliable"))
    first_from(rig, "camera_optical")
    (listener,) = rig.node.get_subscriptions_info_by_topic(f"{namespace}/image")
    assert listener.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT and not rig.counts()["resubscribed"]


def test_outputs_are_reliable_and_keep_the_last_one_unless_overridden(start, namespace, open_all):
    override = f"qos_overrides./{namespace.strip('/')}/disparity.publisher"
    start(stub_command(namespace, **{f"{override}.reliability": "best_effort", f"{override}.depth": 3}))
    rig = open_all(Rig(namespace, tuple(topic for _, topic, _ in TOPICS.values())))
    rig.ready()
    for _, topic, _ in TOPICS.values():
        name = f"{namespace}/{topic}"
        (publisher,) = rig.node.get_publishers_info_by_topic(name)
        of_topic = f"qos_overrides.{name}.publisher"
        asked = rig.get(f"{of_topic}.reliability", f"{of_topic}.history", f"{of_topic}.depth")
        wanted = ["best_effort", "keep_last", 3] if topic == "disparity" else ["reliable", "keep_last", 1]
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


def spin(node, until, timeout_s=5.0):
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
        start(stub_command(name))
        rigs.append(open_all(Rig(name, ("disparity",))))
    for rig in rigs:
        rig.ready()
    busy, idle = rigs
    assert all(result.successful for result in busy.set(points__stride=7, scale__mode="fixed"))
    assert busy.get("points.stride", "scale.mode") == [7, "fixed"]
    assert idle.get("points.stride", "scale.mode") == [1, "none"]

    def looked():
        busy.image.publish(camera_image(stamp=busy.stamp()))
        return wait_for(lambda: busy.received["disparity"], 0.3)

    assert wait_for(looked)
    assert int(idle.report()["frames received"]) == 0 and not idle.received["disparity"]
    names = {name for name, _ in busy.node.get_topic_names_and_types() if name.startswith(namespace)}
    assert {f"{name}/disparity" for name in (first, second)} <= names
    alone = {name.removeprefix(first).removeprefix(second) for name in names}
    assert all(first + name in names and second + name in names for name in alone)

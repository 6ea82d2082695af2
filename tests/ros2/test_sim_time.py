"""Simulated time that has not begun, stops or jumps back: frames flow, and the node goes on to answer and to report."""

from __future__ import annotations

import contextlib

import pytest
from builtin_interfaces.msg import Time
from rig import OFTEN, Camera, Rig, camera_image, rclpy, stub_command, wait_for
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from ros2_pro.frames.diagnostics import STALE

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

FRAMES = 10
LONG_S = 60.0


class Simulation(Rig):
    """A rig that may give the time."""

    def __init__(self, namespace):
        super().__init__(namespace, ("relative_disparity",))
        self.clock = self.node.create_publisher(Clock, "/clock", rclpy.qos.QoSProfile(depth=1))

    def tick(self, time_s):
        """It is `time_s` now, for the node, too."""
        stamp = Time(sec=int(time_s))

        def told():
            self.clock.publish(Clock(clock=stamp))
            return wait_for(lambda: self.report_stamps_s and self.report_stamps_s[-1] == time_s, 0.3)

        assert wait_for(told, LONG_S), self.report_stamps_s[-1:]
        return stamp

    def frame(self, stamp):
        """A frame of this time comes through."""

        def came():
            self.image.publish(camera_image(stamp=stamp))
            return wait_for(lambda: stamp in [m.header.stamp for m in self.received["relative_disparity"]], 1.0)

        assert wait_for(came, LONG_S), self.diagnostics[-1:]

    def newest(self, name):
        return int(self.diagnostics[-1][name])


@pytest.fixture
def simulation(start, namespace):
    start(stub_command(namespace, use_sim_time=True), {**OFTEN, "STUB_SNAPSHOT_S": "0.5"})
    with contextlib.closing(Simulation(namespace)) as rig:
        rig.ready()
        yield rig


@pytest.mark.parametrize("clock", ["never came", "stopped"])
def test_without_time_frames_flow_and_the_node_answers_and_reports(simulation, namespace, clock):
    if clock == "stopped":
        simulation.tick(100)
    with contextlib.closing(Camera(namespace, "best_effort", rate_hz=20.0)):  # heard only after a change by a timer
        assert wait_for(lambda: len(simulation.received["relative_disparity"]) >= FRAMES, LONG_S), (
            simulation.diagnostics[-1:]
        )
    assert wait_for(lambda: simulation.levels[-1][0] == STALE and "no image for" in simulation.levels[-1][1], LONG_S)
    if clock == "never came":
        assert not simulation.newest("count time_jump")
    answer = simulation.call(Trigger, "snapshot", Trigger.Request(), LONG_S)
    assert not answer.success and "No image" in answer.message


def test_time_that_jumps_back_is_told_once_and_frames_flow(simulation):
    for time_s in (100, 101, 50, 51):
        simulation.frame(simulation.tick(time_s))
    assert simulation.newest("count time_jump") == 1

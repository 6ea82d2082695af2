"""What docs/ros2.md gives nav2 to subscribe with fits the node, and subscribed so clouds come."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from rclpy.qos import qos_profile_sensor_data
from rig import OFTEN, Rig, camera_image, camera_info, stub_command, wait_for
from sensor_msgs.msg import PointCloud2

from ros2_pro.settings import from_values

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

ROOT = Path(__file__).parents[2]
FRAMES = 12


@pytest.fixture(scope="module")
def page():
    """The YAML of the page's section, by what each block configures."""
    section = (ROOT / "docs/ros2.md").read_text("utf-8").split("## With nav2\n")[1].split("\n## ")[0]
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
    return {name: values for block in blocks for name, values in block.items()}


def test_the_nodes_parameters_are_parameters(page):
    given = page["pro"]["ros__parameters"]
    flat = {}
    for name, value in given.items():
        flat.update(
            {f"{name}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {name: value}
        )
    assert from_values(flat).autostart is False and "engine.refine" in flat
    assert page["lifecycle_manager"]["ros__parameters"]["node_names"] == ["pro"]


def test_subscribed_as_its_layers_do_nav2_gets_the_clouds(page, start, namespace):
    layer = page["local_costmap"]["local_costmap"]["ros__parameters"]["voxel_layer"]["pro"]
    monitor = page["collision_monitor"]["ros__parameters"]["pro"]
    assert layer["topic"] == monitor["topic"] == "/points" and layer["data_type"] == PointCloud2.__name__
    profile = {"FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config/fastdds_64mb.xml")}  # as the launch files do
    node = start(stub_command(namespace, scale__mode="fixed"), {**OFTEN, **profile})
    with contextlib.closing(Rig(namespace)) as rig:
        # nav2_costmap_2d's obstacle layer and nav2_collision_monitor's pointcloud: rclcpp::SensorDataQoS
        rig.node.create_subscription(PointCloud2, "points", rig.received["points"].append, qos_profile_sensor_data)
        rig.listen("relative_disparity")  # reliable: tells when a frame is done
        rig.ready()

        def came(topic, stamp):
            return stamp in [message.header.stamp for message in list(rig.received[topic])]

        def sent(width, height):
            stamp = rig.stamp()
            rig.info.publish(camera_info(width, height, focal_px=width, stamp=stamp))
            rig.image.publish(camera_image(width, height, stamp=stamp))
            return stamp

        warm = []

        def all_are_found():
            warm.append(sent(64, 48))
            return wait_for(
                lambda: all(any(came(t, stamp) for stamp in warm) for t in ("points", "relative_disparity")), 1.0
            )

        assert wait_for(all_are_found), node.text()
        clouds = []

        def they_come():
            clouds.append(sent(1280, 720))
            assert wait_for(lambda: came("relative_disparity", clouds[-1]))
            wait_for(lambda: came("points", clouds[-1]), 1.0)
            return sum(came("points", stamp) for stamp in clouds) >= FRAMES

        assert wait_for(they_come), f"{len(rig.received['points'])} clouds of {len(clouds)}"
        newest = rig.received["points"][-1]
        assert newest.header.frame_id == "camera_optical" and newest.width * newest.height <= 60_000

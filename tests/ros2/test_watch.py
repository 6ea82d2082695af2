"""What is said where no image comes, and of best-effort listeners that a message does not reach."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from rig import OFTEN, Rig, camera_image, qos, rclpy, stub_command, wait_for
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from ros2_pro.frames.watch import COMPRESSED, RAW, why_no_image
from ros2_pro.graph.transport import DEFAULT_BYTES, carried_bytes

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

HOLDS_64MB = 64 * 2**20


@pytest.fixture
def graph(namespace):
    """graph(**topics): a node that listens, beside one that publishes these; its namespace comes before their names."""
    context = rclpy.Context()
    rclpy.init(context=context)
    ours, camera = (rclpy.create_node(name, namespace=namespace, context=context) for name in ("ours", "camera"))

    def publish(**topics):
        for name, kind in topics.items():
            camera.create_publisher(kind, name.replace("__", "/"), 1)
        names = [f"{namespace}/{name.replace('__', '/')}" for name in topics]
        assert wait_for(lambda: all(ours.count_publishers(name) for name in names))
        ours.create_publisher(Image, "depth/image_rect", 1)  # an output of ours is no camera
        assert wait_for(lambda: ours.count_publishers("depth/image_rect"))
        return ours

    yield publish
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("topics", "listens", "wanted", "words"),
    [
        ({}, "image", RAW, "Nothing is published there; no topic has images."),
        (
            {"a__image": Image, "b__image__compressed": CompressedImage},
            "image",
            RAW,
            "Nothing is published there; topics with images: {ns}/a/image, {ns}/b/image/compressed.",
        ),
        (
            {"image__compressed": CompressedImage},
            "image",
            RAW,
            "{ns}/image/compressed is sensor_msgs/CompressedImage: image:={ns}/image image_transport:=compressed.",
        ),
        (
            {"image__compressed": CompressedImage},
            "image/compressed",
            RAW,
            "{ns}/image/compressed is sensor_msgs/CompressedImage: image:={ns}/image image_transport:=compressed.",
        ),
        (
            {"image__compressed": CompressedImage},
            "image/compressed/compressed",
            COMPRESSED,
            "{ns}/image/compressed is sensor_msgs/CompressedImage: image:={ns}/image image_transport:=compressed.",
        ),
        (
            {"image": Image},
            "image/compressed",
            COMPRESSED,
            "{ns}/image is sensor_msgs/Image: image:={ns}/image image_transport:=raw.",
        ),
        (
            {"image": CompressedImage},
            "image",
            RAW,
            "{ns}/image is sensor_msgs/CompressedImage: image_transport:=compressed, and remap image/compressed to "
            "{ns}/image.",
        ),
        ({"image": PointCloud2}, "image", RAW, "Another type is published there; no topic has images."),
        (
            {"image": Image},
            "image",
            RAW,
            "{ns}/camera publishes there, but sends nothing, or with a quality of service that does not fit "
            "(input.reliability auto fits all).",
        ),
    ],
)
def test_what_is_there_instead_is_named(graph, namespace, topics, listens, wanted, words):
    node = graph(**topics)
    assert why_no_image(node, f"{namespace}/{listens}", wanted) == words.format(ns=namespace)


def test_a_node_on_a_wrong_topic_says_so_once_and_goes_on_when_images_come(start, namespace):
    node = start([*stub_command(namespace), "-r", "image:=wrong"], OFTEN)
    with contextlib.closing(Rig(namespace, ("relative_disparity",))) as rig:
        rig.report(lambda report: report["count no_image"] == "1")
        (line,) = [line for line in node.text().splitlines() if "no_image" in line]
        assert "[WARN]" in line and f"No image came on {namespace}/wrong (sensor_msgs/Image) for 4 s." in line
        assert f"topics with images: {namespace}/image." in line
        images = rig.node.create_publisher(Image, "wrong", qos())

        def came():
            images.publish(camera_image(stamp=rig.stamp()))
            return wait_for(lambda: rig.received["relative_disparity"], 1.0)

        assert wait_for(came) and rig.counts()["no_image"] == 1


def test_why_a_sensor_or_a_camera_info_does_not_come_is_told(start, namespace):
    node = start(stub_command(namespace, scale__mode="align"), OFTEN)
    with contextlib.closing(Rig(namespace, ("depth/image_rect", "points"), camera=False)) as rig:
        images = rig.node.create_publisher(Image, "image", qos())
        rig.node.create_publisher(PointCloud2, "scale/depth", qos())
        rig.ready()

        def told(words):
            images.publish(camera_image(stamp=rig.stamp()))
            return wait_for(lambda: words in node.text() or words in str(rig.diagnostics[-1:]), 1.0)

        assert wait_for(
            lambda: told(
                f"{namespace}/scale/depth is published as sensor_msgs/msg/PointCloud2, and sensor_msgs/msg/Image is "
                "listened to."
            )
        ), rig.diagnostics[-1:]
        missing = (
            f"There is no camera info; nothing is published on {namespace}/camera_info (sensor_msgs/msg/CameraInfo)"
        )
        assert wait_for(lambda: told(missing)), node.text()


@pytest.mark.parametrize(
    ("rmw", "environment", "limit"),
    [
        ("rmw_fastrtps_cpp", {}, DEFAULT_BYTES),
        ("rmw_fastrtps_cpp", {"FASTDDS_DEFAULT_PROFILES_FILE": "{profile}"}, HOLDS_64MB),
        ("rmw_fastrtps_dynamic_cpp", {"FASTRTPS_DEFAULT_PROFILES_FILE": "{profile}"}, HOLDS_64MB),
        ("rmw_fastrtps_cpp", {"FASTDDS_DEFAULT_PROFILES_FILE": "/nowhere.xml"}, None),
        ("rmw_fastrtps_cpp", {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, None),
        ("rmw_cyclonedds_cpp", {}, None),
    ],
)
def test_what_the_transport_carries(profile, rmw, environment, limit):
    environment = {name: value.format(profile=profile) for name, value in environment.items()}
    assert carried_bytes(rmw, environment) == limit


@pytest.fixture
def profile(request):
    return request.config.rootpath / "config/fastdds_64mb.xml"


@pytest.mark.parametrize("env", [{}, {"FASTDDS_DEFAULT_PROFILES_FILE": "{profile}"}], ids=["default", "64mb"])
def test_a_best_effort_listener_that_a_message_does_not_reach_is_told_of(start, namespace, profile, env):
    env = {name: value.format(profile=profile) for name, value in env.items()}
    node = start(stub_command(namespace), {**OFTEN, **env})
    with contextlib.closing(Rig(namespace)) as rig:
        rig.listen("relative_disparity", "best_effort")
        rig.listen("preview")  # reliable: gets everything
        rig.ready()

        def finished():
            rig.image.publish(camera_image(640, 480, stamp=rig.stamp()))
            return wait_for(lambda: any(int(one["frames finished"]) >= 3 for one in rig.diagnostics[-1:]), 1.0)

        assert wait_for(finished)
        threads = {path.read_text().strip() for path in Path(f"/proc/{node.process.pid}/task").glob("*/comm")}
        assert {name[:7] for name in threads} >= {"dds.shm", "dds.udp"}
        assert not [name for name in threads if name.startswith("dds.tls")], "types are looked up"
        if env:
            assert len(rig.received["relative_disparity"]) >= 1 and not rig.counts()["lost_best_effort"]
            return
        rig.report(lambda report: report["count lost_best_effort"] == "1")
        (line,) = [line for line in node.text().splitlines() if "lost_best_effort" in line]
        topic = f"{namespace}/relative_disparity"
        words = ("[WARN]", f"{topic} have 1.2 MB", "subscriber rig", "0.5 MB", "transport_profile:=64mb")
        for word in words:
            assert word in line

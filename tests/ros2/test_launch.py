"""The launch files, executed by a double of `launch` and `launch_ros`: what they start, and that it works."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pro_engine.options import limits_in_words
from ros2_pro import arguments
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.graph.transport import PROFILE_VARIABLES
from ros2_pro.settings import home_of, options

pytest.importorskip("ament_index_python", reason="ROS 2 is not installed; the extra `ros` has it")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
DOUBLES = Path(__file__).parent / "doubles"

Launcher = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix as an installation leaves it, made of links; and a program that stands for RViz."""
    prefix = tmp_path_factory.mktemp("prefix")
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "ros2_pro").symlink_to(ROOT / "resource/ros2_pro")
    share = prefix / "share/ros2_pro"
    share.mkdir()
    for folder in ("launch", "config", "rviz"):
        (share / folder).symlink_to(ROOT / folder)
    (prefix / "lib").mkdir()
    (prefix / "lib/ros2_pro").symlink_to(ROOT / "scripts")
    (index / "rviz2").touch()
    (prefix / "lib/rviz2").mkdir()
    (prefix / "lib/rviz2/rviz2").touch()
    return prefix


@pytest.fixture
def launch(prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """Execute a launch file with arguments; gives its processes by name, and the descriptions of its arguments."""
    monkeypatch.syspath_prepend(str(DOUBLES))
    for name in ("VIRTUAL_ENV", "ROS_DISTRO", *PROFILE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    ours = [name for name in sys.modules if name.partition(".")[0] in ("launch", "launch_ros")]
    for name in ours:
        monkeypatch.delitem(sys.modules, name)

    left: list[Any] = []  # the processes of each launch, of one that failed, too

    def run(file: str, **arguments: Any) -> SimpleNamespace:
        from launch import LaunchContext
        from launch.launch_description_sources import PythonLaunchDescriptionSource

        monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
        environment = dict(os.environ)
        (tmp_path / "files").mkdir(exist_ok=True)
        context = LaunchContext(
            {name: str(value) for name, value in arguments.items()}, environment, tmp_path / "files"
        )
        left.append(context.processes)
        source = PythonLaunchDescriptionSource(str(prefix / "share/ros2_pro/launch" / file))
        source.get_launch_description(context).visit(context)
        return SimpleNamespace(
            processes={process.name: process for process in context.processes},
            declared=context.declared,
            said=context.said,
        )

    run.left = left  # type: ignore[attr-defined]
    yield run
    for name in list(sys.modules):
        if name.partition(".")[0] in ("launch", "launch_ros"):
            del sys.modules[name]


def after(argv: list[str], flag: str) -> list[str]:
    """What follows a flag, each time it is there."""
    return [value for before, value in itertools.pairwise(argv) if before == flag]


def remaps(argv: list[str]) -> dict[str, str]:
    return dict(rule.split(":=", 1) for rule in after(argv, "-r"))


def overrides(argv: list[str]) -> dict[str, Any]:
    """Parameters given by the launch file itself."""
    files = [Path(path) for path in after(argv, "--params-file") if "launch_params_" in path]
    values: dict[str, Any] = {}
    for path in files:
        ((_, node),) = yaml.safe_load(path.read_text("utf-8")).items()
        values.update(node["ros__parameters"])
    return values


def test_without_arguments_nothing_overrides_the_parameter_file(launch: Launcher, prefix: Path) -> None:
    processes = launch("pro.launch.py").processes
    assert list(processes) == ["pro_node"]
    argv = processes["pro_node"].argv
    assert argv[:2] == [sys.executable, str(prefix / "lib/ros2_pro/pro_node")]
    assert after(argv, "--params-file") == [str(prefix / "share/ros2_pro/config/pro.yaml")]
    assert after(argv, "--log-level") == ["info"]
    assert remaps(argv) == {
        "__node": "pro",
        "image": "image",
        "image/compressed": "image/compressed",
        "camera_info": "camera_info",
    }
    shipped = str(prefix / "share/ros2_pro/config/fastdds_64mb.xml")
    assert [processes["pro_node"].env.get(name) for name in PROFILE_VARIABLES] == [shipped, None]


@pytest.mark.parametrize("text", ["20", "20.0"])
def test_a_whole_number_serves_as_a_depth(launch: Launcher, text: str) -> None:
    value = overrides(launch("pro.launch.py", max_depth=text).processes["pro_node"].argv)
    assert value == {"depth.max_depth_m": 20.0}
    assert isinstance(value["depth.max_depth_m"], float)


EXAMPLES = {
    "image_transport": "compressed",
    "image_reliability": "best_effort",
    "fov_x_deg": "70",
    "model": "123",
    "device": "cpu",
    "refine": "none",
    "scale_mode": "fixed",
    "scale_factor": "1",
    "scale_shift": "0",
    "scale_source": "scan",
    "max_depth": "30",
    "scale_transport": "compressedDepth",
    "camera_height_m": "0.4",
    "pitch_deg": "12",
    "max_points": "1000",
    "autostart": "false",
    "cameras": "[front, left]",
    "use_sim_time": "true",
}


def test_every_argument_of_a_setting_is_a_setting_of_that_type(launch: Launcher) -> None:
    arguments = launch("pro.launch.py").declared
    of_settings = {name for name, text in arguments.items() if "(parameter " in text}
    assert of_settings == set(EXAMPLES)
    given = overrides(launch("pro.launch.py", **EXAMPLES).processes["pro_node"].argv)
    assert len(given) == len(EXAMPLES)
    assert given.pop("use_sim_time") is True
    assert given.pop("cameras") == ["front", "left"]
    defaults = {name: option.default for name, option in options()}
    assert {name: type(value) for name, value in given.items()} == {name: type(defaults[name]) for name in given}
    assert given["engine.model"] == "123"


def test_an_argument_says_what_its_setting_says(launch: Launcher) -> None:
    declared = launch("pro.launch.py").declared
    known = {name: option for name, option in options() if f"(parameter {name})" in " ".join(declared.values())}
    assert len(known) == len(EXAMPLES) - 1  # use_sim_time is rclpy's
    for name, option in known.items():
        (text,) = (text for text in declared.values() if f"(parameter {name})" in text)
        assert option.metadata["help"][1:] in text
        assert limits_in_words(*home_of(name)) in text
        default = arguments.shown(option.default)
        assert f"default: as params_file says, else {default} (" in text
    camera = launch("demo.launch.py").declared["rate_hz"]
    assert camera == "Camera: Images a second; from 0.01 to 1000; default: 1.0"


@pytest.mark.parametrize(
    ("file", "argument", "text", "sentence"),
    [
        ("pro.launch.py", "max_depth", "abc", "max_depth is 'abc'; give a number from 0 to 1e+06."),
        ("pro.launch.py", "max_depth", "nan", "max_depth is nan; give a number from 0 to 1e+06."),
        ("pro.launch.py", "max_points", "1.5", "max_points is '1.5'; give a whole number from 1000 to 1e+08."),
        ("pro.launch.py", "autostart", "maybe", "autostart is 'maybe'; give true or false."),
        ("pro.launch.py", "use_sim_time", "1", "use_sim_time is '1'; give true or false."),
        (
            *("pro.launch.py", "scale_mode", "foo"),
            "scale_mode is 'foo'; give none, fixed, align, ground, metric or estimated.",
        ),
        ("pro.launch.py", "params_file", "/none.yaml", "params_file is /none.yaml, and there is no such file; give a "
         "YAML file of parameters."),
        *(
            ("pro.launch.py", name, text, f"{name} is {text!r}; give words of letters, digits and _, which begin with "
             "no digit, with / between them.")
            for name, text in (("image", ""), ("image", "/a/"), ("image", "/{robot}/a"), ("image", "a b"),
                               ("image", "/cam-1/image"), ("namespace", "/a/"), ("namespace", "2nd"),
                               ("camera_info", "a//b"), ("scale_topic", "é"))
        ),
        ("pro.launch.py", "image", "/{camera}/a", "image is '/{camera}/a', and no cameras are given; give "
         "cameras:=[front,left]."),
        ("pro.launch.py", "log_level", "loud", "log_level is 'loud'; give debug, info, warn, error or fatal."),
        ("pro.launch.py", "python", "/no/python", "python is '/no/python', and there is no such program; give that of "
         "an environment."),
        ("demo.launch.py", "python", "/no/python", "python is '/no/python', and there is no such program; give that "
         "of an environment."),
        ("demo.launch.py", "rate_hz", "0", "rate_hz is 0.0; give a number from 0.01 to 1000."),
        ("demo.launch.py", "encoding", "nv12", "encoding is 'nv12'; give bgr8, rgb8, bgra8, rgba8 or mono8."),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_is_named_in_one_sentence(
    launch: Launcher, file: str, argument: str, text: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        launch(file, **{argument: text})


def test_arguments_say_what_they_do(launch: Launcher) -> None:
    for file, least in (("pro.launch.py", 20), ("demo.launch.py", 25)):
        declared = launch(file).declared
        assert len(declared) >= least
        assert all(len(text) > 8 for text in declared.values())


def test_topics_are_remapped(launch: Launcher) -> None:
    argv = (
        launch("pro.launch.py", image="/cam/image_raw", namespace="left", scale_topic="/lidar")
        .processes["pro_node"]
        .argv
    )
    found = remaps(argv)
    assert found["__ns"] == "/left"
    assert found["image"] == "/cam/image_raw"
    assert found["image/compressed"] == "/cam/image_raw/compressed"
    assert found["camera_info"] == "/cam/camera_info"
    assert {found[f"scale/{kind}"] for kind in ("depth", "points", "scan")} == {"/lidar"}
    assert found["scale/camera_info"] == "/camera_info"
    argv = launch("pro.launch.py", image="/cam/image_raw", camera_info="/calibration").processes["pro_node"].argv
    assert remaps(argv)["camera_info"] == "/calibration"


def test_cameras_have_their_topics_in_their_namespaces_or_where_a_name_stands_for_them(launch: Launcher) -> None:
    argv = launch("pro.launch.py", cameras="[front, left]", image="color/image_raw", scale_topic="/lidar").processes[
        "pro_node"
    ].argv  # fmt: skip
    found = remaps(argv)
    assert "__node" not in found  # parameters would be given to the node of that name alone
    assert (found["image"], found["camera_info"]) == ("color/image_raw", "color/camera_info")
    assert found["scale/points"] == "/lidar"
    assert overrides(argv) == {"cameras": ["front", "left"]}
    argv = launch("pro.launch.py", cameras="front,left", image="/cam_{camera}/rgb", namespace="r").processes[
        "pro_node"
    ].argv  # fmt: skip
    found = remaps(argv)
    assert found["/r/left/image/compressed"] == "/cam_left/rgb/compressed"
    assert (found["/r/front/image"], found["/r/front/camera_info"]) == ("/cam_front/rgb", "/cam_front/camera_info")


def test_one_topic_for_several_cameras_is_refused(launch: Launcher) -> None:
    with pytest.raises(ValueError, match=r"^image is /cam/rgb for every camera; give a relative topic, or one with "):
        launch("pro.launch.py", cameras="[front,left]", image="/cam/rgb")


def test_cameras_of_a_parameter_file_are_launched_as_those_of_an_argument(launch: Launcher, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text('/**:\n  ros__parameters: {cameras: [a, b]}\n/a/pro:\n  ros__parameters: {scale.mode: "fixed"}\n')
    argv = launch("pro.launch.py", params_file=file, image="/x/{camera}/rgb", max_depth=9).processes["pro_node"].argv
    assert remaps(argv)["/b/image"] == "/x/b/rgb" and overrides(argv) == {"depth.max_depth_m": 9.0}
    (given,) = (yaml.safe_load(Path(p).read_text("utf-8")) for p in after(argv, "--params-file") if "launch_" in p)
    assert list(given) == ["/**"]


def test_the_demo_has_a_camera_for_each_name_and_rviz_shows_the_first(launch: Launcher) -> None:
    processes = launch("demo.launch.py", namespace="d", cameras="[front, left]", rviz="true").processes
    started = [(process.name, remaps(process.argv).get("__ns")) for process in launch.left[-1]]
    assert [ns for name, ns in started if name == "demo_camera"] == ["/d/front", "/d/left"]
    assert remaps(processes["rviz2"].argv)["__ns"] == "/d/front"
    assert overrides(processes["pro_node"].argv)["cameras"] == ["front", "left"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1,", "which is no YAML: "),
        ("- 1", "which is no file of parameters; below the name of a node, such as /**, it needs ros__parameters"),
        ("pro: 3", "which is no file of parameters"),
        ("ros__parameters: {a: 1}", "which is no file of parameters"),
        ("pro: {ros__parameters: [1]}", "which is no file of parameters"),
        ("\xff", "which is no file of parameters"),
    ],
)
def test_a_file_that_is_none_of_parameters_is_told_in_one_sentence(
    launch: Launcher, tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"^params_file is {re.escape(str(file))}, {re.escape(words)}") as raised:
        launch("pro.launch.py", params_file=file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "given", "is_used"),
    [
        (["/**"], {}, True),
        (["pro"], {}, True),
        (["/pro"], {"namespace": "left"}, False),
        (["/left/pro"], {"namespace": "left"}, True),
        (["/*/pro"], {"namespace": "left"}, True),
        (["/left/**"], {"namespace": "left"}, True),
        (["/**/pro"], {"namespace": "a/left"}, True),
        (["/lef/**", "depth"], {"namespace": "left"}, False),
        (["/r/front/pro"], {"namespace": "r", "cameras": "front,left"}, True),
        (["/r/back/pro"], {"namespace": "r", "cameras": "front,left"}, False),
    ],
)
def test_a_file_without_a_parameter_for_the_node_is_told(
    launch: Launcher, tmp_path: Path, names: list[str], given: dict[str, str], is_used: bool
) -> None:
    """rcl ignores it silently."""
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({name: {"ros__parameters": {"points.stride": 2}} for name in names}))
    said = launch("pro.launch.py", params_file=file, **given).said
    if is_used:
        assert not said
    else:
        assert f"{file} has parameters for /" in said[0] and "none is used" in said[0]


def test_a_section_within_a_section_is_for_a_node_in_a_namespace(launch: Launcher, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("left: {pro: {ros__parameters: {points: {stride: 2}}}}")
    assert not launch("pro.launch.py", params_file=file, namespace="left").said
    assert launch("pro.launch.py", params_file=file).said


def test_an_argument_that_is_nearly_there_is_told(launch: Launcher) -> None:
    """launch ignores arguments that it does not know; those of a launch file around ours are none of our business."""
    assert launch("pro.launch.py", max_depht=3, robot_name="r").said == [
        "Warning: There is no argument max_depht; max_depth may be meant."
    ]
    said = launch("demo.launch.py", widht=640, max_depth=3, image_reliability="reliable").said
    assert said == ["Warning: There is no argument widht; width may be meant."]
    assert not launch("demo.launch.py").said


def test_remapped_topics_are_those_of_the_node() -> None:
    """A rule for a name that the node does not use would do nothing, silently."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")
    from ros2_pro import node
    from ros2_pro.graph.publishers import TOPICS

    source = inspect.getsource(node)
    for topic in ("image", "image/compressed", "camera_info", "scale/camera_info", "scale/depth", "scale/points",
                  "scale/scan"):  # fmt: skip
        assert f'"{topic}"' in source
    shown = {topic for _, topic, _ in TOPICS.values()}
    config = yaml.safe_load((ROOT / "rviz/pro.rviz").read_text("utf-8"))["Visualization Manager"]
    topics = [display["Topic"]["Value"] for display in config["Displays"] if "Topic" in display]
    assert set(topics) - {"/image"} == {f"/{topic}" for topic in ("points", "depth/image_rect", "preview")}
    assert {topic.removeprefix("/") for topic in topics} - {"image"} <= shown


@pytest.mark.parametrize("folder", ["my venv/bin", None])
def test_the_interpreter(launch: Launcher, prefix: Path, tmp_path: Path, folder: str | None) -> None:
    python = ""
    if folder:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "python").touch(0o755)
        python = str(tmp_path / folder / "python")
    argv = launch("pro.launch.py", python=python).processes["pro_node"].argv
    assert argv[: argv.index("--ros-args")] == [*([python] if python else []), str(prefix / "lib/ros2_pro/pro_node")]


def test_the_interpreter_of_an_active_virtual_environment(
    launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "venv"))
    assert launch("pro.launch.py").processes["pro_node"].argv[0] == sys.executable  # it is gone
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    for process in launch("demo.launch.py").processes.values():
        assert process.argv[0] == str(python)


def test_a_transport_profile(launch: Launcher, prefix: Path, tmp_path: Path) -> None:
    shipped = str(prefix / "share/ros2_pro/config/fastdds_64mb.xml")
    env = launch("pro.launch.py", transport_profile="64mb").processes["pro_node"].env
    assert [env.get(name) for name in PROFILE_VARIABLES] == [shipped, None]
    own = tmp_path / "own.xml"
    own.touch()
    env = launch("pro.launch.py", transport_profile=own).processes["pro_node"].env
    assert [env.get(name) for name in PROFILE_VARIABLES] == [str(own), None]
    env = launch("pro.launch.py", transport_profile="default").processes["pro_node"].env
    assert not set(PROFILE_VARIABLES) & set(env)
    with pytest.raises(ValueError, match=r"transport_profile is 65mb.*give auto, default, 64mb or an XML file"):
        launch("pro.launch.py", transport_profile="65mb")


def test_a_profile_of_ones_own_is_kept_unless_another_is_asked_for(
    launch: Launcher, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, shipped = str(tmp_path / "own.xml"), str(prefix / "share/ros2_pro/config/fastdds_64mb.xml")
    for asked, wanted in ((None, own), ("64mb", shipped)):
        monkeypatch.setenv(PROFILE_VARIABLES[0], own)
        given = {"transport_profile": asked} if asked else {}
        assert launch("pro.launch.py", **given).processes["pro_node"].env[PROFILE_VARIABLES[0]] == wanted


@pytest.mark.parametrize(
    ("distribution", "set_before", "expected"),
    [("humble", None, [1]), ("jazzy", None, [1]), ("kilted", None, [0]), ("rolling", 1, [0, 1]), ("jazzy", 0, [0, 1])],
)
def test_the_profile_has_the_name_that_fast_dds_of_the_distribution_looks_for(
    launch: Launcher, prefix: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, set_before: int | None,
    expected: list[int],
) -> None:  # fmt: skip
    """Both names make Fast DDS 3 load the file twice, with errors in red."""
    monkeypatch.setenv("ROS_DISTRO", distribution)
    if set_before is not None:
        monkeypatch.setenv(PROFILE_VARIABLES[set_before], "/own.xml")
    env = launch("pro.launch.py", transport_profile="64mb").processes["pro_node"].env
    shipped = str(prefix / "share/ros2_pro/config/fastdds_64mb.xml")
    assert [name for name in range(2) if env.get(PROFILE_VARIABLES[name]) == shipped] == expected


def test_rviz_starts_where_it_is_asked_for(launch: Launcher, prefix: Path) -> None:
    argv = launch("pro.launch.py", rviz="true", image="/cam/image_raw", rviz_frame="cam").processes["rviz2"].argv
    assert after(argv, "-d") == [str(prefix / "share/ros2_pro/rviz/pro.rviz")]
    assert after(argv, "-f") == ["cam"]
    assert remaps(argv)["/image"] == "/cam/image_raw"
    assert remaps(argv)["/points"] == "points"


@pytest.mark.parametrize(
    ("file", "arguments", "words"),
    [
        ("pro.launch.py", {"rviz": "true"}, "package rviz2 is not installed; install it, or leave rviz out"),
        ("demo.launch.py", {"rviz": "true"}, "rviz2"),
        ("demo.launch.py", {"transport_profile": "65mb"}, "transport_profile"),
        ("demo.launch.py", {"rate_hz": "0"}, "rate_hz"),
    ],
)
def test_a_launch_that_fails_leaves_nothing_running(
    launch: Launcher, prefix: Path, file: str, arguments: dict[str, str], words: str
) -> None:
    """What launch has started it forgets where a later action fails."""
    marker = prefix / "share/ament_index/resource_index/packages/rviz2"
    marker.unlink()
    try:
        with pytest.raises((RuntimeError, ValueError), match=words):
            launch(file, **arguments)
    finally:
        marker.touch()
    assert launch.left == [[]]


def test_the_demo_starts_a_camera_and_hands_the_rest_on(launch: Launcher) -> None:
    processes = launch("demo.launch.py", namespace="d", rate_hz=5, max_depth=20, transport_profile="64mb").processes
    assert set(processes) == {"pro_node", "demo_camera"}
    node, camera = processes["pro_node"], processes["demo_camera"]
    place = {"scale.camera_height_m": 1.5, "scale.pitch_deg": 12.0}  # so that scale_mode ground works, too
    assert overrides(node.argv) == {"scale.mode": "align", "depth.max_depth_m": 20.0, **place}
    assert remaps(node.argv)["scale/depth"] == "sensor/depth"
    assert remaps(node.argv)["__ns"] == remaps(camera.argv)["__ns"] == "/d"
    given = overrides(camera.argv)
    assert given["source"] == "synthetic" and given["rate_hz"] == 5.0 and isinstance(given["rate_hz"], float)
    assert camera.argv[0] == sys.executable
    for process in (node, camera):
        assert process.env[PROFILE_VARIABLES[0]].endswith("fastdds_64mb.xml")


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [({"source": "photo.jpg"}, "fixed"), ({"source": "photo.jpg", "scale_mode": "metric"}, "metric")],
)
def test_metres_of_the_demo(launch: Launcher, arguments: dict[str, str], mode: str) -> None:
    argv = launch("demo.launch.py", **arguments).processes["pro_node"].argv
    assert overrides(argv)["scale.mode"] == mode


def test_the_demo_gives_the_camera_its_own_parameters(launch: Launcher) -> None:
    given = overrides(launch("demo.launch.py").processes["demo_camera"].argv)
    assert DemoSettings(**given)  # every name exists
    defaults = DemoSettings()
    assert {name: type(value) for name, value in given.items()} == {
        name: type(getattr(defaults, name)) for name in given
    }


@pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other
def test_with_the_default_launch_best_effort_listeners_get_every_depth_image_and_cloud(
    launch: Launcher, start: Callable[..., Any], namespace: str
) -> None:
    """As nav2's layers and `ros2 topic hz` subscribe, at sizes that the default transport of Fast DDS would lose."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")
    from rclpy.qos import qos_profile_sensor_data
    from rig import HERE, OFTEN, OUTPUTS, Rig, camera_image, camera_info, wait_for

    process = launch("pro.launch.py", namespace=namespace, scale_mode="fixed").processes["pro_node"]
    argv = [str(HERE / "stub_node.py") if word.endswith("/pro_node") else word for word in process.argv]
    node = start(argv, {**process.env, **OFTEN})
    rig = Rig(namespace)
    try:
        lossy = ("depth/image_rect", "points")
        for topic in lossy:
            rig.node.create_subscription(OUTPUTS[topic], topic, rig.received[topic].append, qos_profile_sensor_data)
        rig.listen("relative_disparity")  # reliable: tells when a frame is done
        rig.ready()

        def came(topic: str, stamps: list[Any]) -> list[bool]:
            known = [message.header.stamp for message in list(rig.received[topic])]
            return [stamp in known for stamp in stamps]

        def sent(width: int, height: int) -> Any:
            stamp = rig.stamp()
            rig.info.publish(camera_info(width, height, focal_px=width, stamp=stamp))
            rig.image.publish(camera_image(width, height, stamp=stamp))
            return stamp

        warm: list[Any] = []

        def all_are_found() -> bool:
            warm.append(sent(64, 48))
            return bool(wait_for(lambda: all(any(came(topic, warm)) for topic in (*lossy, "relative_disparity")), 1.0))

        assert wait_for(all_are_found), node.text()
        for width, height in ((640, 480), (1280, 720), (1920, 1080)):
            frames: list[Any] = []
            for _ in range(12):
                frames.append(sent(width, height))
                assert wait_for(lambda f=frames: came("relative_disparity", f)[-1])
            for topic in lossy:
                assert wait_for(lambda t=topic, f=frames: all(came(t, f)), 20.0), f"{topic} {width}x{height}"
        assert rig.counts()["lost_best_effort"] == 0
        assert all(cloud.width * cloud.height <= 60_000 for cloud in rig.received["points"])
        assert (rig.received["depth/image_rect"][-1].width, rig.received["points"][-1].width) == (1920, 320)
    finally:
        rig.close()


def test_the_demo_shows_depth_and_points(launch: Launcher, start: Callable[..., Any], namespace: str) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")
    from rig import Rig, wait_for

    arguments = {"namespace": namespace, "width": 256, "height": 192, "rate_hz": 2, "device": "cpu"}
    rig = Rig(namespace, ("depth/image_rect", "points"))
    rig.drop(rig.image)  # the demo has a camera of its own
    rig.drop(rig.info)
    try:
        started = [
            start(process.argv, process.env) for process in launch("demo.launch.py", **arguments).processes.values()
        ]
        (depth, *_) = rig.take("depth/image_rect", 1, 60.0) or [None]
        assert depth is not None, [process.text() for process in started]
        assert (depth.width, depth.height, depth.encoding) == (256, 192, "32FC1")
        (points, *_) = rig.take("points", 1, 20.0)
        assert points.width * points.height > 1000
        assert wait_for(lambda: not any(process.process.poll() for process in started), 1.0)
        assert [process.end() for process in started] == [0, 0], [process.text() for process in started]
    finally:
        rig.close()

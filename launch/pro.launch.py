"""Depth and points from a camera: `ros2 launch ros2_pro pro.launch.py image:=/camera/image_raw scale_mode:=align`.

What is not given here is taken from `params_file`; `ros2 launch ros2_pro pro.launch.py --show-args` lists everything.
Several cameras: `cameras:=[front,left] image:=image_raw` listens to /front/image_raw and /left/image_raw, or
`image:=/drivers/{camera}/image_raw` to topics in other places.
"""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from pro_engine.options import field_of
from ros2_pro import arguments, parameter_file, settings
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.graph.transport import PROFILE_VARIABLES, profile_variables

SHARE = FindPackageShare("ros2_pro")

# Argument: parameter, which says the rest.
SETTINGS = {
    "image_transport": "input.transport",
    "image_reliability": "input.reliability",
    "fov_x_deg": "input.fallback_fov_x_deg",
    "model": "engine.model",
    "device": "engine.device",
    "refine": "engine.refine",
    "scale_mode": "scale.mode",
    "scale_factor": "scale.factor",
    "scale_shift": "scale.shift",
    "scale_source": "scale.source",
    "scale_transport": "scale.transport",
    "camera_height_m": "scale.camera_height_m",
    "pitch_deg": "scale.pitch_deg",
    "max_depth": "depth.max_depth_m",
    "max_points": "points.max_points",
    "autostart": "autostart",
    "cameras": "cameras",
    "use_sim_time": "use_sim_time",
}
CAMERA = "{camera}"  # in a topic: the camera's name
NOT_GIVEN = ""  # left to the parameter file

# Argument: default, meaning.
OTHERS = {
    "namespace": ("", "namespace of the node and its topics"),
    "image": ("image", "topic of the image; with cameras, a relative one or one with {camera} for the camera's name"),
    "camera_info": ("", "topic of the camera info; not given: camera_info in the namespace of the image"),
    "scale_topic": ("", "align: topic of the sensor; not given: scale/depth, scale/points or scale/scan"),
    "params_file": (PathJoinSubstitution([SHARE, "config", "pro.yaml"]), "YAML file of parameters"),
    "python": (arguments.interpreter(), "interpreter of the node, with PyTorch; empty: python3 of the path"),
    "transport_profile": (
        "auto",
        "auto: 64mb, unless the environment names a profile; 64mb: shared memory for large best-effort messages; "
        "default: that of Fast DDS; or an XML file of it",
    ),
    "log_level": (
        field_of(arguments.RclpySettings, "log_level").default,
        arguments.described(arguments.RclpySettings, "log_level"),
    ),
    "rviz": ("false", "true to start RViz"),
    "rviz_frame": (DemoSettings.frame_id, "RViz: fixed frame, by default that of the demo camera"),
}

PROFILES = {"64mb": "fastdds_64mb.xml"}
SHOWN = ("points", "depth/image_rect", "preview")


def generate_launch_description() -> LaunchDescription:
    """The node, and RViz where it is asked for."""
    declared = [
        DeclareLaunchArgument(name, default_value=NOT_GIVEN, description=description(parameter))
        for name, parameter in SETTINGS.items()
    ]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in OTHERS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def home_of(parameter: str) -> tuple[type, str]:
    """The class and the field that declare a parameter."""
    return (arguments.RclpySettings, parameter) if parameter == "use_sim_time" else settings.home_of(parameter)


def description(parameter: str) -> str:
    """What is said of an argument for a parameter; its own default holds where neither it nor the file gives it."""
    owner, name = home_of(parameter)
    default = f"as params_file says, else {arguments.shown(field_of(owner, name).default)}"
    return f"{arguments.described(owner, name, default=default)} (parameter {parameter})"


def start(context: LaunchContext) -> list[Any]:
    """The actions, now that the arguments are known."""

    def given(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    wants_rviz = IfCondition(LaunchConfiguration("rviz"))
    if wants_rviz.evaluate(context):
        look_up_rviz()
    overrides = {
        parameter: arguments.value_of(name, given(name), *home_of(parameter))
        for name, parameter in SETTINGS.items()
        if given(name) != NOT_GIVEN
    }
    check(context)
    params_file = given("params_file")
    sections = parameter_file.sections_of(params_file) if params_file else {}
    cameras = cameras_of(overrides.get("cameras", ()), sections, given("image"))
    if "cameras" in overrides:
        overrides["cameras"] = list(overrides["cameras"])
    image = given("image")
    topics = {"image": image, "camera_info": given("camera_info") or beside(image, "camera_info")}
    topics["image/compressed"] = f"{image}/compressed"
    if given("scale_topic"):
        topics |= dict.fromkeys(("scale/depth", "scale/points", "scale/scan"), given("scale_topic"))
        topics["scale/depth/compressedDepth"] = f"{given('scale_topic')}/compressedDepth"
        topics["scale/camera_info"] = beside(given("scale_topic"), "camera_info")
    remappings = [
        rule for item in topics.items() for rule in (rules(*item, cameras, base_of(context)) if cameras else [item])
    ]
    node = Node(
        package="ros2_pro",
        executable="pro_node",
        exec_name="pro_node",
        # The nodes of several cameras have this name by themselves; launch would give the arguments to the one alone.
        name=None if cameras else "pro",
        namespace=LaunchConfiguration("namespace"),
        parameters=[part for part in (params_file, overrides) if part],
        remappings=remappings,
        prefix=shlex.quote(given("python")) if given("python") else None,
        arguments=["--ros-args", "--log-level", given("log_level")],
        output="screen",
    )
    first = next(iter(cameras), "")  # the camera that RViz shows
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace="/".join(filter(None, (given("namespace"), first))),
        arguments=["-d", PathJoinSubstitution([SHARE, "rviz", "pro.rviz"]), "-f", given("rviz_frame")],
        remappings=[("/image", image.replace(CAMERA, first)), *((f"/{topic}", topic) for topic in SHOWN)],
        condition=wants_rviz,
        output="screen",
    )
    names = [f"{base_of(context)}{camera and f'/{camera}'}/pro" for camera in cameras or [""]]
    doubts = arguments.misspelt(context.launch_configurations, [*SETTINGS, *OTHERS])
    told = [LogInfo(msg=f"Warning: {text}") for text in doubts + unused(params_file, sections, names)]
    return [*told, *transport(given("transport_profile"), context), node, rviz]


def cameras_of(given: tuple[str, ...], sections: dict[str, dict[str, Any]], image: str) -> list[str]:
    """The names of the cameras, as given or as a file of parameters says; none for a single camera without one."""
    in_file: list[str] = next(filter(None, (parameters.get("cameras") for parameters in sections.values())), [])
    cameras = [name for name in given or in_file if name]
    if CAMERA in image and not cameras:
        raise ValueError(f"image is {image!r}, and no cameras are given; give cameras:=[front,left].")
    return cameras


def check(context: LaunchContext) -> None:
    """Raise ValueError, which names the argument, for what rcl or the system would refuse in words of their own."""
    given = {name: str(LaunchConfiguration(name).perform(context)) for name in OTHERS}
    for name in ("image", "camera_info", "scale_topic", "namespace"):
        value = re.sub(r"\{(camera|node|ns|namespace)\}", "x", given[name])  # the others are rcl's
        may_be_none = value.strip("/") == "" and name != "image"
        if not may_be_none and not re.fullmatch(r"(~/|/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", value, re.ASCII):
            raise ValueError(
                f"{name} is {given[name]!r}; give words of letters, digits and _, which begin with no digit, with / "
                "between them."
            )
    arguments.value_of("log_level", given["log_level"], arguments.RclpySettings, "log_level")
    if given["python"] and not shutil.which(given["python"]):
        raise ValueError(f"python is {given['python']!r}, and there is no such program; give that of an environment.")


def unused(params_file: str, sections: dict[str, Any], nodes: list[str]) -> list[str]:
    """A sentence where a file of parameters has none for the nodes: rcl ignores it."""
    if not sections or any(parameter_file.is_for(name, node) for name in sections for node in nodes):
        return []
    return [
        f"{params_file} has parameters for {', '.join(sections)}, and the node is {' or '.join(nodes)}; none is used. "
        "Put them below that name, or below /**."
    ]


def base_of(context: LaunchContext) -> str:
    """The namespace of the node, or that around those of several cameras; "" for the outermost."""
    pushed = context.launch_configurations.get("ros_namespace", "")  # by PushRosNamespace
    own = str(LaunchConfiguration("namespace").perform(context))
    parts = (own,) if own.startswith("/") else (pushed, own)
    return "".join(f"/{part.strip('/')}" for part in parts if part.strip("/"))


def rules(topic: str, target: str, cameras: list[str], base: str) -> list[tuple[str, str]]:
    """Rules that remap a topic of the nodes of several cameras."""
    if CAMERA in target:
        return [(f"{base}/{camera}/{topic}", target.replace(CAMERA, camera)) for camera in cameras]
    if target.startswith("/") and not topic.startswith("scale/"):  # a lidar may serve all cameras
        raise ValueError(
            f"{topic} is {target} for every camera; give a relative topic, or one with {CAMERA} for the camera's name."
        )
    return [(topic, target)]


def look_up_rviz() -> None:
    """Fail before anything runs: launch leaves what it has started behind where a later action fails."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        text = "rviz is true, and the package rviz2 is not installed; install it, or leave rviz out."
        raise RuntimeError(text) from None


def transport(profile: str, context: LaunchContext) -> list[Any]:
    """The variables that make Fast DDS read a profile; none for `default`, or where one is set and it is `auto`."""
    is_set = any(os.environ.get(variable) for variable in PROFILE_VARIABLES)
    if profile == "default" or (profile == "auto" and is_set):
        return []
    path = profile = "64mb" if profile == "auto" else profile
    if profile in PROFILES:
        path = PathJoinSubstitution([SHARE, "config", PROFILES[profile]]).perform(context)
    if not Path(path).is_file():
        known = ", ".join(["auto", "default", *PROFILES])
        raise ValueError(f"transport_profile is {profile}, and there is no such file; give {known} or an XML file.")
    return [SetEnvironmentVariable(variable, path) for variable in profile_variables(os.environ)]


def beside(topic: str, name: str) -> str:
    """The topic `name` in the namespace of `topic`."""
    head, slash, _ = topic.rpartition("/")
    return head + slash + name

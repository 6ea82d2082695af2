"""Depth and points from a camera: `ros2 launch ros2_pro pro.launch.py image:=/camera/image_raw scale_mode:=align`.

What is not given here is taken from `params_file`; `ros2 launch ros2_pro pro.launch.py --show-args` lists everything.
"""

import os
import shlex
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from pro_engine.options import field_of
from ros2_pro import arguments, settings
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.graph.transport import PROFILE_VARIABLES

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
    "max_depth": "depth.max_depth_m",
    "max_points": "points.max_points",
    "autostart": "autostart",
    "use_sim_time": "use_sim_time",
}
NOT_GIVEN = ""  # left to the parameter file

# Argument: default, meaning.
OTHERS = {
    "namespace": ("", "namespace of the node and its topics"),
    "image": ("image", "topic of the image"),
    "camera_info": ("", "topic of the camera info; not given: camera_info in the namespace of the image"),
    "scale_topic": ("", "align: topic of the sensor; not given: scale/depth, scale/points or scale/scan"),
    "params_file": (PathJoinSubstitution([SHARE, "config", "pro.yaml"]), "YAML file of parameters"),
    "python": (arguments.interpreter(), "interpreter of the node, with PyTorch; empty: python3 of the path"),
    "transport_profile": (
        "auto",
        "auto: 64mb, unless FASTDDS_DEFAULT_PROFILES_FILE is set; 64mb: shared memory for large best-effort messages; "
        "default: that of Fast DDS; or an XML file of it",
    ),
    "log_level": ("info", "debug, info, warn, error or fatal"),
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
    params_file = given("params_file")
    if params_file and not Path(params_file).is_file():
        raise ValueError(f"params_file is {params_file}, and there is no such file; give a YAML file of parameters.")
    image = given("image")
    remappings = [
        ("image", image),
        ("image/compressed", f"{image}/compressed"),
        ("camera_info", given("camera_info") or beside(image, "camera_info")),
    ]
    if given("scale_topic"):
        remappings += [(f"scale/{kind}", given("scale_topic")) for kind in ("depth", "points", "scan")]
        remappings.append(("scale/depth/compressedDepth", f"{given('scale_topic')}/compressedDepth"))
        remappings.append(("scale/camera_info", beside(given("scale_topic"), "camera_info")))
    node = Node(
        package="ros2_pro",
        executable="pro_node",
        exec_name="pro_node",
        name="pro",
        namespace=LaunchConfiguration("namespace"),
        parameters=[part for part in (params_file, overrides) if part],
        remappings=remappings,
        prefix=shlex.quote(given("python")) if given("python") else None,
        arguments=["--ros-args", "--log-level", given("log_level")],
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", PathJoinSubstitution([SHARE, "rviz", "pro.rviz"]), "-f", given("rviz_frame")],
        remappings=[("/image", image), *((f"/{topic}", topic) for topic in SHOWN)],
        condition=wants_rviz,
        output="screen",
    )
    return [*transport(given("transport_profile"), context), node, rviz]


def look_up_rviz() -> None:
    """Fail before anything runs: launch leaves what it has started behind where a later action fails."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        text = "rviz is true, and the package rviz2 is not installed; install it, or leave rviz out."
        raise RuntimeError(text) from None


def transport(profile: str, context: LaunchContext) -> list[Any]:
    """The variables that make Fast DDS read a profile; none for `default`, or where they are set and it is `auto`."""
    is_set = any(os.environ.get(variable) for variable in PROFILE_VARIABLES)
    if profile == "default" or (profile == "auto" and is_set):
        return []
    path = profile = "64mb" if profile == "auto" else profile
    if profile in PROFILES:
        path = PathJoinSubstitution([SHARE, "config", PROFILES[profile]]).perform(context)
    if not Path(path).is_file():
        known = ", ".join(["auto", "default", *PROFILES])
        raise ValueError(f"transport_profile is {profile}, and there is no such file; give {known} or an XML file.")
    return [SetEnvironmentVariable(variable, path) for variable in PROFILE_VARIABLES]


def beside(topic: str, name: str) -> str:
    """The topic `name` in the namespace of `topic`."""
    head, slash, _ = topic.rpartition("/")
    return head + slash + name

"""A camera without hardware, and depth from it: `ros2 launch ros2_pro demo.launch.py rviz:=true`.

Every argument of pro.launch.py is understood too.
"""

import shlex
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from pro_engine.options import field_of
from ros2_pro import arguments
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.settings import ScaleSettings, Settings

# Arguments that are parameters of the camera.
CAMERA = ("source", "width", "height", "rate_hz", "reliability", "encoding", "faults", "camera_height_m", "pitch_deg")

# Argument of pro.launch.py: another default, meaning.
NODE = {
    "namespace": ("", "namespace of the camera, the node and their topics"),
    "python": (arguments.interpreter(), "interpreter of the camera and the node; empty: python3 of the path"),
    "scale_mode": (
        "",
        arguments.described(ScaleSettings, "mode", default="align to the synthetic camera's sensor, else fixed"),
    ),
    "scale_topic": ("sensor/depth", "align: topic of the sensor"),
}


def generate_launch_description() -> LaunchDescription:
    """The camera and the node."""
    declared = [
        DeclareLaunchArgument(
            name,
            default_value=arguments.shown(field_of(DemoSettings, name).default),
            description=f"Camera: {arguments.described(DemoSettings, name)}",
        )
        for name in CAMERA
    ]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in NODE.items()
    ]
    pro_launch = PathJoinSubstitution([FindPackageShare("ros2_pro"), "launch", "pro.launch.py"])
    return LaunchDescription(
        [
            *declared,
            OpaqueFunction(function=choose_scale),
            OpaqueFunction(function=check_camera),
            # First the node: a transport profile that it is given then holds for the camera too.
            IncludeLaunchDescription(PythonLaunchDescriptionSource([pro_launch])),
            OpaqueFunction(function=start_camera),
        ]
    )


def choose_scale(context: LaunchContext) -> list[Any]:
    """Metres by what the source has, where the user did not say."""
    if LaunchConfiguration("scale_mode").perform(context):
        return []
    source = LaunchConfiguration("source").perform(context)
    return [SetLaunchConfiguration("scale_mode", "align" if source == DemoSettings.source else "fixed")]


def camera_parameters(context: LaunchContext) -> dict[str, Any]:
    """The camera's parameters as values."""
    return {
        name: arguments.value_of(name, LaunchConfiguration(name).perform(context), DemoSettings, name)
        for name in CAMERA
    }


def check_camera(context: LaunchContext) -> list[Any]:
    """Fail before anything runs, as launch leaves what it has started behind where a later action fails; doubts."""
    camera_parameters(context)
    return [LogInfo(msg=f"Warning: {text}") for text in arguments.misspelt(context.launch_configurations, CAMERA)]


def start_camera(context: LaunchContext) -> list[Any]:
    """The cameras, now that the arguments are known."""
    python = LaunchConfiguration("python").perform(context)
    names = arguments.value_of("cameras", LaunchConfiguration("cameras").perform(context), Settings, "cameras")
    return [
        Node(
            package="ros2_pro",
            executable="demo_camera",
            exec_name="demo_camera",
            name="demo_camera",
            namespace="/".join(filter(None, (LaunchConfiguration("namespace").perform(context), name))),
            parameters=[camera_parameters(context)],
            prefix=shlex.quote(python) if python else None,
            output="screen",
        )
        for name in names
    ]

"""A camera without hardware, and depth from it: `ros2 launch ros2_pro demo.launch.py rviz:=true`.

Every argument of pro.launch.py is understood too.
"""

import shlex
import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Argument: type and default of the camera's parameter of that name, meaning.
CAMERA = {
    "source": (str, "synthetic", "synthetic, a photo, a folder of photos, or a video"),
    "width": (int, "0", "pixels; 0: the source's own, or 3840"),
    "height": (int, "0", "pixels; 0: the source's own, or 2160"),
    "rate_hz": (float, "1.0", "images a second"),
    "reliability": (str, "reliable", "reliable or best_effort (then transport_profile:=64mb, or images get lost)"),
    "encoding": (str, "bgr8", "bgr8, rgb8, bgra8, rgba8 or mono8"),
    "faults": (str, "none", "none, cycle, or names of faults with commas between them"),
}


# Argument of pro.launch.py: another default, meaning.
NODE = {
    "namespace": ("", "namespace of the camera, the node and their topics"),
    "python": (sys.executable, "interpreter of the camera and the node; empty: python3 of the path"),
    "scale_mode": ("", "where metres come from; not given: align to the synthetic sensor, else fixed"),
    "scale_topic": ("sensor/depth", "align: topic of the sensor"),
}


def generate_launch_description():
    """The camera and the node."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=f"camera: {meaning}")
        for name, (_, default, meaning) in CAMERA.items()
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
            # First the node: a transport profile that it is given then holds for the camera too.
            IncludeLaunchDescription(PythonLaunchDescriptionSource([pro_launch])),
            OpaqueFunction(function=start_camera),
        ]
    )


def choose_scale(context):
    """Metres by what the source has, where the user did not say."""
    if LaunchConfiguration("scale_mode").perform(context):
        return []
    source = LaunchConfiguration("source").perform(context)
    return [SetLaunchConfiguration("scale_mode", "align" if source == "synthetic" else "fixed")]


def start_camera(context):
    """The camera, now that the arguments are known."""
    python = LaunchConfiguration("python").perform(context)
    return [
        Node(
            package="ros2_pro",
            executable="demo_camera",
            exec_name="demo_camera",
            name="demo_camera",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                {
                    name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                    for name, (kind, *_) in CAMERA.items()
                }
            ],
            prefix=shlex.quote(python) if python else None,
            output="screen",
        )
    ]

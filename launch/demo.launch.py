"""A camera without hardware, and depth from it: `ros2 launch ros2_pro demo.launch.py rviz:=true`.

Every argument of pro.launch.py is understood too.
"""

import shlex
import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
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


def generate_launch_description():
    """The camera and the node."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=f"camera: {meaning}")
        for name, (_, default, meaning) in CAMERA.items()
    ]
    return LaunchDescription(
        [
            *declared,
            DeclareLaunchArgument("namespace", default_value="", description="of the camera and the node"),
            DeclareLaunchArgument("python", default_value=sys.executable, description="interpreter of both"),
            DeclareLaunchArgument(
                "scale_mode", default_value="", description="not given: align to the synthetic sensor, else fixed"
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context):
    """The actions, now that the arguments are known."""

    def given(name):
        return LaunchConfiguration(name).perform(context)

    # First the node: a transport profile that it is given then holds for the camera too.
    pro_launch = PathJoinSubstitution([FindPackageShare("ros2_pro"), "launch", "pro.launch.py"])
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource([pro_launch]),
        launch_arguments={
            "scale_mode": given("scale_mode") or ("align" if given("source") == "synthetic" else "fixed"),
            "scale_topic": "sensor/depth",
        }.items(),
    )
    camera = Node(
        package="ros2_pro",
        executable="demo_camera",
        exec_name="demo_camera",
        name="demo_camera",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, (kind, _, _) in CAMERA.items()}
        ],
        prefix=shlex.quote(given("python")) if given("python") else None,
        output="screen",
    )
    return [node, camera]

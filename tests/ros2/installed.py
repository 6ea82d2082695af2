"""Where ROS looks for the parts of the package, below the folder that pip or colcon install into."""

from __future__ import annotations

FILES = (
    "share/ament_index/resource_index/packages/ros2_pro",
    "share/ros2_pro/package.xml",
    "share/ros2_pro/launch/pro.launch.py",
    "share/ros2_pro/launch/demo.launch.py",
    "share/ros2_pro/config/pro.yaml",
    "share/ros2_pro/config/fastdds_64mb.xml",
    "share/ros2_pro/rviz/pro.rviz",
)
PROGRAMS = ("pro_node", "demo_camera")  # in lib/ros2_pro
NEVER = ("tests", "blender_addon", "benchmarks")

"""Where ROS looks for the parts of the package, below the folder that pip or colcon install into."""

from __future__ import annotations

METRIC_MODELS = (
    "da2-metric-indoor-small", "da2-metric-outdoor-small", "da3-metric-large", "depth-pro", "moge-2-vits",
    "moge-2-vitb", "moge-2-vitl", "moge-2-vitl-without-normals",
)  # fmt: skip
"""Each has a file of parameters."""
FILES = (
    "share/ament_index/resource_index/packages/ros2_pro",
    "share/ros2_pro/package.xml",
    "share/ros2_pro/launch/pro.launch.py",
    "share/ros2_pro/launch/demo.launch.py",
    "share/ros2_pro/config/pro.yaml",
    "share/ros2_pro/config/fastdds_64mb.xml",
    *(f"share/ros2_pro/config/{name}.yaml" for name in METRIC_MODELS),
    "share/ros2_pro/rviz/pro.rviz",
)
PROGRAMS = ("pro_node", "demo_camera")  # in lib/ros2_pro
NEVER = ("tests", "blender_addon", "benchmarks")

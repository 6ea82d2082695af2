"""Several cameras in one process: a node for each, in the namespace of its name."""

from __future__ import annotations

import rclpy

from pro_engine.options import check
from ros2_pro.graph import parameters
from ros2_pro.settings import Settings, check_cameras


def namespaces_at_start(name: str) -> list[str]:
    """The namespaces of the nodes that the arguments of this process ask for; an empty one stays as the arguments say.

    name: of the nodes, by which files of parameters address them.

    Raises:
        OptionError: a value of the parameter `cameras` that cannot be.
    """
    node = rclpy.create_node(name, enable_rosout=False, start_parameter_services=False)
    try:
        names = parameters.declared(node, "cameras", Settings, "cameras")
        check(Settings, "cameras", names)
        check_cameras(names)
        base = node.get_namespace().rstrip("/")
    finally:
        node.destroy_node()
    return [f"{base}/{camera}" if camera else "" for camera in names]

"""What the transport in use carries: a best-effort message that its shared memory does not hold is lost."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

# Of the shared memory of Fast DDS: 500 KiB arrive and 600 KiB do not (rmw_fastrtps issue 739).
DEFAULT_BYTES = 512 * 1024
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # of Fast DDS 3, and before
_WITH_FAST_DDS_2 = ("humble", "iron", "jazzy")  # distributions


def profile_variables(environment: Mapping[str, str]) -> list[str]:
    """The variables that name a profile to the Fast DDS of the distribution at hand: its own one, and one that is set
    already. With both, Fast DDS 3 loads the file twice and reports errors."""
    own = PROFILE_VARIABLES[environment.get("ROS_DISTRO", "") in _WITH_FAST_DDS_2]
    return [name for name in PROFILE_VARIABLES if name == own or environment.get(name)]


def carried_bytes(rmw: str, environment: Mapping[str, str]) -> int | None:
    """The largest message that a best-effort subscriber of this machine gets; None where that is not known.

    Args:
        rmw: name of the middleware, as rclpy gives it.
        environment: that this process was started with.
    """
    if not rmw.startswith("rmw_fastrtps") or environment.get("FASTDDS_BUILTIN_TRANSPORTS"):
        return None
    path = next(filter(None, map(environment.get, PROFILE_VARIABLES)), None)
    if path is None:
        return DEFAULT_BYTES
    try:
        sizes = [int(e.text or "") for e in ET.parse(path).iter() if e.tag.rpartition("}")[2] == "segment_size"]
    except (OSError, ET.ParseError, ValueError):
        return None
    return max(sizes, default=DEFAULT_BYTES)

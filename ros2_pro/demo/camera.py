"""`demo_camera`: a camera without hardware, for a first look and for tests.

Publishes, all with one header:
    image, camera_info          the picture, and the camera without distortion
    image/compressed            JPEG, if `compressed`
    depth_truth                 exact depth in metres, 32FC1, inf in the sky (synthetic scene only)
    sensor/depth                the same from a small noisy sensor of limited range, NaN beyond (synthetic scene only)
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

SPIN_S = 0.1


class _Leave:
    """SIGINT and SIGTERM ask to leave, however often they come."""

    def __init__(self) -> None:
        self.asked = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def _on_signal(self, *_: Any) -> None:
        self.asked = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the camera until SIGINT, SIGTERM or the last picture.

    Returns:
        0, or 2 for arguments, parameters or a source that cannot be; one sentence on stderr says why.
    """
    signals = _Leave()  # before the imports, which take a second
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from ros2_pro.demo.node import DemoCamera

    camera: DemoCamera | None = None
    try:
        try:
            rclpy.init(args=list(sys.argv if argv is None else argv), signal_handler_options=SignalHandlerOptions.NO)
            camera = DemoCamera()
        except Exception as error:  # bad arguments, parameter files and values come as many kinds
            return _refuse(error)
        executor = SingleThreadedExecutor()
        executor.add_node(camera)
        while not (signals.asked or camera.finished) and rclpy.ok():
            executor.spin_once(timeout_sec=SPIN_S)
    except ValueError as error:  # a photo of a folder that cannot be read
        return _refuse(error)
    finally:
        if camera is not None:
            camera.destroy_node()
        rclpy.try_shutdown()
    return 0


def _refuse(error: Exception) -> int:
    print(f"demo_camera: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

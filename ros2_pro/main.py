"""`pro_node`: start the node, or one for each camera, spin, and leave cleanly however often one asks.

Exit codes: 0 after SIGINT or SIGTERM, 1 where no node could be configured or one could not leave the graph, 2 for
parameters or arguments that cannot be.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ros2_pro.node import ProNode

SPIN_S = 0.1
LEAVING_S = 4.0  # `ros2 launch` sends the next signal after 5 s


class _Interrupted(BaseException):
    """A signal in the middle of an import."""


class _Signals:
    """SIGINT and SIGTERM ask once; what comes later changes nothing, so that nothing is left half closed.

    What takes seconds is broken off. Nothing else is: an exception in the middle of rclpy leaves its lists behind the
    facts, and the shared memory of DDS in the machine.
    """

    def __init__(self) -> None:
        self.asked = False
        self.breakable = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    @contextlib.contextmanager
    def breaking(self) -> Iterator[None]:
        """What is done here a signal breaks off."""
        self.breakable = True
        try:
            if self.asked:
                raise _Interrupted
            yield
        except Exception as error:  # what an interrupted import makes of it
            if self.asked:
                raise _Interrupted from error
            raise
        finally:
            self.breakable = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if first and self.breakable:
            raise _Interrupted


def main(argv: Sequence[str] | None = None, *, load: Callable[..., Any] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM, and end the process. `load` replaces `pro_engine.load_model`."""
    faulthandler.enable()  # a fault in native code, as of DDS, is told of
    signals = _Signals()  # before the imports, which take a second
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait by spinning steal the camera's cores
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))  # as codec.MAX_PIXELS, for files of all kinds
    try:
        code = _run(sys.argv if argv is None else argv, load, signals)
    except _Interrupted:
        code = 0
    # At once: Python takes seconds to take torch apart, and waits for a pass of the model that is under way, or aborts.
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":  # lines of the log, where RCUTILS_LOGGING_USE_STDOUT or _BUFFERED_STREAM is set
        ctypes.CDLL(None).fflush(None)
    os._exit(code)


def _run(argv: Sequence[str], load: Callable[..., Any] | None, signals: _Signals) -> int:
    with signals.breaking():
        import rclpy
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.impl.logging_severity import LoggingSeverity
        from rclpy.logging import set_logger_level
        from rclpy.signals import SignalHandlerOptions

        from ros2_pro.graph.cameras import namespaces_at_start
        from ros2_pro.node import NAME, ProNode, Shared

    shared = Shared(load)
    nodes: list[ProNode] = []
    namespace = ""
    try:
        try:
            set_logger_level("rcl", LoggingSeverity.FATAL)  # `_refuse` says what rcl would say here, too
            rclpy.init(args=list(argv), signal_handler_options=SignalHandlerOptions.NO)
            set_logger_level("rcl", LoggingSeverity.UNSET)
            for namespace in namespaces_at_start(NAME):
                nodes.append(ProNode(shared, namespace))
        except Exception as error:  # bad arguments, parameter files and values come as many kinds
            return _refuse(error, namespace)
        executor = SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        starting = [node for node in nodes if node.settings.autostart]
        if starting and not (starting := [node for node in starting if _start(node, signals)]):
            return 1
        while not signals.asked and rclpy.ok():
            executor.spin_once(timeout_sec=SPIN_S)
            if starting and all(node.has_model is not None for node in starting):
                if not any(node.has_model for node in starting):
                    return 1
                starting = []
    except ExternalShutdownException:
        pass
    finally:
        signals.asked = True
        # Fast DDS sometimes blocks for ever while it shuts down, when no Python thread can run any more.
        faulthandler.dump_traceback_later(LEAVING_S, exit=True)
        shared.turns.end()
        for node in nodes:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _start(node: ProNode, signals: _Signals) -> bool:
    """Configure and activate a node; whether it is active, or the end was asked for meanwhile."""
    from rclpy.lifecycle import TransitionCallbackReturn

    steps = node.trigger_configure, node.trigger_activate
    return all(signals.asked or step() == TransitionCallbackReturn.SUCCESS or signals.asked for step in steps)


def _refuse(error: Exception, namespace: str) -> int:
    text = " ".join(str(error).split())
    if type(error).__name__ == "UnknownROSArgsError":  # says nothing but their list
        text = f"unknown ROS arguments {text}; see `ros2 run --help`"
    print(f"pro_node{namespace and f' {namespace}'}: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()

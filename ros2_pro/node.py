"""The lifecycle node: topics, parameters, services and diagnostics around the worker."""

from __future__ import annotations

import resource
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # has a module of its own since Jazzy
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future as RosFuture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2
from std_srvs.srv import Trigger

import pro_engine as pro
from ros2_pro.faults import DROPS, MISLEADING, MessageError
from ros2_pro.frames.diagnostics import WARN, Health
from ros2_pro.frames.model import Engine, Loader, Models
from ros2_pro.frames.newest_frame import FrameWorker, Turns, in_thread
from ros2_pro.frames.processor import Processor, Surroundings
from ros2_pro.frames.watch import Watch
from ros2_pro.graph import parameters
from ros2_pro.graph.adaptive_subscription import AdaptiveSubscription
from ros2_pro.graph.bond import Bond
from ros2_pro.graph.publishers import Outputs
from ros2_pro.messages.caches import CameraInfoCache, Frame, SensorCache
from ros2_pro.scale import sensor_samples
from ros2_pro.settings import WAYS_TO_METRES, EngineSettings, Settings

NAME = "pro"
ADAPT_PERIOD_S = 0.25
DIAGNOSTICS_PERIOD_S = 1.0
STOP_TIMEOUT_S = 1.5
SNAPSHOT_TIMEOUT_S = 30.0
SENSOR_DEPTH = 5

SENSORS: dict[str, tuple[type[Any], str]] = {
    "depth_image": (Image, "scale/depth"),
    "points": (PointCloud2, "scale/points"),
    "scan": (LaserScan, "scale/scan"),
}
_ERRORS = ("load_failed", "engine_error", "engine_memory", "engine_output", "internal_error")


class Shared:
    """What the nodes of one process share: models, and the thread in which their cameras have turns.

    `load` replaces `pro_engine.load_model`.
    """

    def __init__(self, load: Loader | None = None) -> None:
        self.models, self.turns = Models(load), Turns()


class ProNode(LifecycleNode):
    """A camera in, refined depth and points out. `namespace` is in place of that of the process's arguments.

    Raises:
        OptionError: parameters given at start that cannot be; it names them.
    """

    def __init__(self, shared: Shared, namespace: str = "") -> None:
        super().__init__(NAME, cli_args=["--ros-args", "-r", f"__ns:={namespace}"] if namespace else None)
        self._settings = parameters.declare(self)
        for unknown in parameters.undeclared(self):
            self.get_logger().warning(f"There is no parameter {unknown}; `ros2 param list` names those there are.")
        self._shared = shared
        self._health = Health(self._log)
        self._infos, self._sensor = CameraInfoCache(), SensorCache()
        self._engine: Engine | None = None
        self._outputs: Outputs | None = None
        self._processor: Processor | None = None
        self._worker: FrameWorker[Frame] | None = None
        self._loading: Future[None] | None = None
        self._tf: sensor_samples.TfLookup | None = None
        self._bond: Bond | None = None
        self._subscriptions_of_ours: list[AdaptiveSubscription] = []
        self._watch: Watch | None = None
        self._state = "unconfigured"
        self.add_on_set_parameters_callback(self._on_set_parameters)
        # Of a group of their own: until they have answered, nothing else of theirs is called, images neither.
        waiting = ReentrantCallbackGroup()
        self.create_service(Trigger, "~/snapshot", self._on_snapshot, callback_group=waiting)
        self.create_service(Trigger, "~/reload", self._on_reload, callback_group=waiting)
        # The one absolute name: where every tool of ROS looks for it.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # Housekeeping goes on where the time of ROS stands still: in a paused simulation, after a recording.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report, clock=self._steady)
        self.create_timer(ADAPT_PERIOD_S, self._look, clock=self._steady)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def has_model(self) -> bool | None:
        """Whether the model of `configure` is loaded; None before it is known."""
        if self._loading is None or not self._loading.done():
            return None
        return self._loading.exception() is None

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to load the model, and announce the topics. Nobody waits for the model: managers lose patience."""
        self._outputs = Outputs(self, lambda text: self._health.count("publish_failed", text, withheld=True))
        self._load_model()
        self._state = "inactive"
        return super().on_configure(state)

    def _load_model(self) -> None:
        engine, settings = Engine(self._shared.models, self.get_logger().warning), self._settings.engine
        self._engine = engine
        self._loading = in_thread(lambda: self._load_and_tell(engine, settings), "pro-loading")

    def _load_and_tell(self, engine: Engine, settings: EngineSettings) -> None:
        """What the loading thread does. It tells how it went before anybody can know: the node may end for that."""
        try:
            engine.ensure(settings)
        except Exception as error:
            cause, text = "internal_error", f"{type(error).__name__}: {error}"
            if isinstance(error, MessageError):
                cause, text = error.cause, str(error)
            if engine is self._engine:  # else the node was cleaned up meanwhile
                self._health.count(cause, text, withheld=True)
            raise
        if engine is not self._engine:
            return
        self.get_logger().info(f"Model {engine.name} is loaded on {engine.device}.")
        if self._settings.scale.mode == "none":
            self.get_logger().info(
                "scale.mode is none: relative disparity is published, depth and points are not. For metres set "
                f"scale.mode to {WAYS_TO_METRES}."
            )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and work, on images from when the model is there; FAILURE where it could not be loaded."""
        assert self._engine is not None and self._outputs is not None and self._loading is not None
        if self._engine.refuses(self._settings.engine):
            self._loading.exception()  # waits until it is told, which comes next: the process may end for it
            return TransitionCallbackReturn.FAILURE
        if self.has_model is False:
            self._load_model()  # another one is asked for by now
        worker = self._worker = FrameWorker(self._work, self._shared.turns)
        self._tf = sensor_samples.TfLookup.create(self)
        around = Surroundings(
            settings=lambda: self._settings,
            now_s=lambda: self.get_clock().now().nanoseconds * 1e-9,
            stopping=lambda: worker.stopping,
            topic_of=lambda which: one.topic if (one := self._subscription(which)) else "",
            silence_of=lambda which: one.silence() if (one := self._subscription(which)) else "",
            tf=self._tf,
        )
        self._processor = Processor(around, self._engine, self._health, self._outputs, self._infos, self._sensor)
        self._subscribe()
        if not self._settings.autostart:
            self._bond = Bond.form(self)
        self._watch = Watch(
            self, self._health, lambda: self._settings.input, self._outputs, tuple(self._subscriptions_of_ours)
        )
        self._state = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and working; a pass of the model that is under way is left to end by itself."""
        self._stop_work()
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the model and the topics go."""
        self._release()
        self._state = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End from any state."""
        self._release()
        self._state = "finalized"
        return TransitionCallbackReturn.SUCCESS

    def stop(self) -> None:
        """End work for good; a pass of the model that is under way is left to itself."""
        self._release()

    def destroy_node(self) -> None:
        """Leave the graph. rclpy forgets the state machine here, which would hold on to the shared memory."""
        try:
            super().destroy_node()
        finally:
            self._state_machine.destroy_when_not_in_use()

    def _release(self) -> None:
        self._stop_work()
        if self._outputs is not None:
            self._outputs.destroy()
        self._engine = self._outputs = self._loading = None

    def _stop_work(self) -> None:
        if self._bond is not None:
            self._bond.break_off()
            self._bond = None
        self._watch = None
        for subscription in self._subscriptions_of_ours:
            subscription.destroy()
        self._subscriptions_of_ours.clear()
        if self._worker is not None:
            self._worker.stop(STOP_TIMEOUT_S)
        self._worker = self._processor = None
        if self._tf is not None:
            self._tf.close()
            self._tf = None
        self._infos.forget()
        self._sensor.forget()

    def _subscribe(self) -> None:
        given, scale = self._settings.input, self._settings.scale
        kind, topic = (Image, "image") if given.transport == "raw" else (CompressedImage, "image/compressed")
        sensor_kind, sensor_topic = SENSORS[scale.source]
        if sensor_kind is Image and scale.transport != "raw":
            sensor_kind, sensor_topic = CompressedImage, "scale/depth/compressedDepth"
        wanted = [
            (kind, topic, self._on_image, given.reliability, 1),
            (CameraInfo, "camera_info", self._infos.put, "auto", 1),
            (sensor_kind, sensor_topic, self._sensor.put, "auto", SENSOR_DEPTH),
        ]
        if scale.source == "depth_image":
            wanted.append((CameraInfo, "scale/camera_info", self._sensor.put_info, "auto", 1))
        for wanted_kind, name, callback, reliability, depth in wanted:
            self._subscriptions_of_ours.append(
                AdaptiveSubscription(
                    self, wanted_kind, name, callback, reliability=reliability, depth=depth,
                    resubscribed=lambda text: self._health.count("resubscribed", text),
                )
            )  # fmt: skip

    # Topics

    def _on_image(self, message: Any) -> None:
        self._health.received()
        if self._watch is not None:
            self._watch.image_came()
        if self.has_model is None:
            self._health.count("loading", withheld=True)
        elif self._worker is not None and self._worker.put(Frame(message, time.monotonic())):
            self._health.count("overrun")

    def _work(self, frame: Frame) -> None:
        processor, worker, rate = self._processor, self._worker, self._settings.input.max_rate_hz
        if processor is None or worker is None:
            return
        begun_s = time.monotonic()
        processor.process(frame)
        worker.rest_until(begun_s + 1 / rate if rate else 0.0)

    def _subscription(self, which: str) -> AdaptiveSubscription | None:
        """That of "image", "camera_info" or "sensor"."""
        names = ("image", "camera_info", "sensor")
        return dict(zip(names, self._subscriptions_of_ours, strict=False)).get(which)

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look()

    # Parameters and services

    def set_parameters_atomically(self, parameter_list: list[Parameter[Any]]) -> SetParametersResult:
        """As in rclpy; what is refused is counted, whether by `_on_set_parameters` or by rclpy's checks before it."""
        unknown = [parameter.name for parameter in parameter_list if not self.has_parameter(parameter.name)]
        if unknown:
            reason = f"There is no parameter {', '.join(unknown)}; `ros2 param list` names those there are."
            result = SetParametersResult(successful=False, reason=reason)
        else:
            result = super().set_parameters_atomically(parameter_list)
        if not result.successful:
            self._health.count("parameter_refused", result.reason)
        return result

    def _on_set_parameters(self, given: list[Parameter[Any]]) -> SetParametersResult:
        try:
            self._settings = parameters.changed(self._settings, given)
        except pro.OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    async def _on_snapshot(self, request: Any, response: Any) -> Any:
        if self._processor is None:
            return _answer(response, False, "The node is not active; activate it first.")
        written = self._processor.snapshot()
        timer = self.create_timer(SNAPSHOT_TIMEOUT_S, lambda: _cancel(written), clock=self._steady)
        try:
            await self._awaitable(written)
        finally:
            self.destroy_timer(timer)
        if written.cancelled():
            return _answer(response, False, f"No image could be worked on within {SNAPSHOT_TIMEOUT_S:g} s.")
        error = written.exception()
        return _answer(response, error is None, str(error or written.result().resolve()))

    async def _on_reload(self, request: Any, response: Any) -> Any:
        engine, worker = self._engine, self._worker
        if engine is None or worker is None:
            return _answer(response, False, "The node is not active; activate it first.")
        if self.has_model is None:
            return _answer(response, False, "The model is still being loaded.")
        loaded = worker.ask(lambda: engine.ensure(self._settings.engine, again=True))
        await self._awaitable(loaded)
        if loaded.cancelled():
            return _answer(response, False, "The node was stopped meanwhile.")
        error = loaded.exception()
        if isinstance(error, MessageError):
            self._health.count(error.cause, str(error))
        return _answer(response, error is None, str(error or f"Model {engine.name} is loaded again."))

    def _awaitable(self, future: Future[Any]) -> RosFuture[None]:
        """A future that the executor can await, done when the other one is."""
        done: RosFuture[None] = RosFuture(executor=self.executor)
        future.add_done_callback(lambda _: done.set_result(None))
        return done

    # Diagnostics

    def _report(self) -> None:
        report = self._health.report(stale_after_s=self._settings.input.stale_after_s)
        level, text = report.level, report.text
        if self._state != "active":
            level, text = WARN, f"not active: {self._state}"
        elif self.has_model is None:
            level, text = WARN, "the model is being loaded"
        values = {"state": self._state, **report.values, **self._figures()}
        if values["scale source"] in ("estimated", "assumed"):
            text = f"{text}; metres are an estimate"
        status = DiagnosticStatus(
            level=bytes([level]),
            name=f"{self.get_fully_qualified_name()}: depth",
            hardware_id=self._engine.device if self._engine is not None else "",
            message=text,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        try:
            self._diagnostics.publish(message)
        except Exception as error:  # as in Outputs.publish
            self._health.count("publish_failed", f"/diagnostics could not be published: {error}")

    def _figures(self) -> dict[str, str]:
        """What the node knows beside the counters."""
        engine, processor = self._engine, self._processor
        scale = None if processor is None else processor.scale_now()
        return {
            "model": engine.name if engine is not None else "",
            "device": engine.device if engine is not None else "",
            "dtype": engine.dtype if engine is not None else "",
            "memory (MB)": f"{_resident_mb():.0f}",
            "peak memory (MB)": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
            "camera info": "known" if self._infos.known else "none",
            "lens source": "none" if processor is None else processor.lens_source,
            "scale": "none" if scale is None else scale.state,
            "scale source": "none" if scale is None or scale.scale_shift is None else scale.scale_shift.source,
            "scale fit": "" if scale is None else scale.reason,
            **{f"QoS of {s.topic}": f"{s.reliability}, keep last" for s in self._subscriptions_of_ours},
        }

    def _log(self, cause: str, line: str, withheld: bool) -> None:
        logger = self.get_logger()
        if cause in _ERRORS:
            logger.error(line)
        elif withheld or cause in DROPS or cause in MISLEADING:
            logger.warning(line)
        else:
            logger.info(line)


def _cancel(future: Future[Any]) -> None:
    future.cancel()


def _answer(response: Any, success: bool, message: str) -> Any:
    response.success, response.message = success, message
    return response


def _resident_mb() -> float:
    """Memory in use now, in MB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * resource.getpagesize() / 1e6

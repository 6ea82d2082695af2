"""One frame from message to messages: decode, look, scale, and only what somebody listens to."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pro_engine as pro
from ros2_pro.faults import MessageError
from ros2_pro.frames.diagnostics import Health
from ros2_pro.frames.lens import fallback_lens, find_lens, seen_lens, without_lens
from ros2_pro.frames.model import Engine
from ros2_pro.frames.publishing import BENT, DEPTHS, STRAIGHT, FrameMaps, FramePublisher
from ros2_pro.frames.snapshot import write_snapshot
from ros2_pro.graph.publishers import TOPICS, Outputs
from ros2_pro.messages import camera_info, clouds, images
from ros2_pro.messages.caches import CameraInfoCache, Frame, SensorCache, seconds
from ros2_pro.scale import sensor_samples
from ros2_pro.scale.ground import camera_over_ground, ground_samples, levelled
from ros2_pro.scale.tracker import FrameScale, ScaleTracker
from ros2_pro.settings import OWN_METRES, WAYS_TO_METRES, Settings

FUTURE_S = 1.0  # a stamp this far ahead of the clock is wrong
OTHER_CLOCK_S = 600.0  # a stamp this far off is of another clock, of a recording or a simulation
INFO_OFFSET_S = 1.0  # a camera info this far from the image is told
_METRIC = DEPTHS | {"points", "disparity"}


@dataclass(frozen=True)
class Surroundings:
    """What a processor needs of the node: its present settings, its clocks in seconds, and topics."""

    settings: Callable[[], Settings]
    now_s: Callable[[], float]
    stopping: Callable[[], bool]
    topic_of: Callable[[str], str]  # of "image", "camera_info" and "sensor": the resolved name
    silence_of: Callable[[str], str] = lambda which: "nothing came"  # and why nothing may have come on it, in words
    tf: sensor_samples.TfLookup | None = None
    clock: Callable[[], float] = time.monotonic  # steady, in seconds: of `Frame.received_s` and the scale's age


class Processor:
    """Works on frames, one at a time, in the worker's thread. `process` never raises."""

    def __init__(
        self,
        around: Surroundings,
        engine: Engine,
        health: Health,
        outputs: Outputs,
        infos: CameraInfoCache,
        sensor: SensorCache,
    ) -> None:
        self._around, self._engine, self._health, self._outputs = around, engine, health, outputs
        self._infos, self._sensor = infos, sensor
        self._tracker = ScaleTracker(around.settings().scale)
        self._snapshots: deque[Future[Path]] = deque()
        self._shape: tuple[int, ...] | None = None
        self._encoding: str | None = None
        self._stamp_s: float | None = None
        self._lens_notes: tuple[str, ...] = ()
        self._lens_source = "none"
        self._publisher = FramePublisher(health, outputs)

    def scale_now(self) -> FrameScale:
        """Where metres come from now, for diagnostics; of any thread."""
        return self._tracker.status(self._around.clock())

    @property
    def lens_source(self) -> str:
        """Where the lens of the last frame came from: given (camera info), model, assumed (the fallback) or none."""
        return self._lens_source

    def snapshot(self) -> Future[Path]:
        """Ask for a snapshot of the next frame; the future has its folder."""
        future: Future[Path] = Future()
        self._snapshots.append(future)
        return future

    def process(self, frame: Frame) -> None:
        """Work on a frame and publish; what is wrong with it is counted by cause."""
        try:
            self._process(frame)
        except MessageError as error:
            self._health.count(error.cause, str(error))
        except pro.CancelledError:
            pass  # the node is stopping
        except Exception as error:  # a bug of ours must cost one frame, not the robot its node
            if not self._around.stopping():
                self._health.count("internal_error", _where(error))

    def _process(self, frame: Frame) -> None:
        started_s = self._around.clock()
        settings = self._around.settings()
        self._tracker.configure(settings.scale)
        wanted = self._work_wanted(settings)
        if not wanted and not self._snapshots and not settings.engine.always_run:
            return
        try:
            self._engine.ensure(settings.engine)
        except MessageError as error:
            if not self._engine.name:
                raise
            self._health.count(error.cause, str(error))
        message = frame.message
        compressed = not hasattr(message, "encoding")
        picture = images.decode_compressed(message) if compressed else images.decode_image(message)
        image = picture.image
        info = self._infos.get(settings.input.camera_info_timeout_s)  # before the model, whose time newer ones pass
        found, rectification = find_lens(info, image, settings.input, self._around.topic_of("image"))
        wanted = self._on_its_topic(wanted, found)
        if not wanted and not self._snapshots and not settings.engine.always_run:
            return
        begun_s = self._around.clock()
        if rectification is not None:
            image = rectification.picture(image)
        seen = seen_lens(found, image, settings.input)
        turns = settings.input.rotation // 90
        result = self._engine.infer(image, settings.engine, lambda: not self._around.stopping(), seen, turns)
        if rectification is not None and rectification.seen is not None:
            result = replace(result, valid=result.valid & rectification.seen)
        engine_s = self._around.clock() - begun_s
        own = result.lens_source if result.depth is not None else None  # without metres nothing here follows from it
        self._lens_source = own or (seen.lens_source if seen is not None else "none")
        # Only now, so that a frame that is dropped is counted as that alone.
        self._note(picture, message.format if compressed else message.encoding, message.header)
        info, lens = self._told_lens(found, info, message.header, image, settings, wanted)
        disparity = np.where(result.valid, result.disparity, np.float32(np.nan)) if not result.valid.all() else None
        disparity = result.disparity if disparity is None else disparity
        view = FrameMaps(message.header, image, lens, info, disparity, rectification=rectification)
        if wanted & (_METRIC | {"camera_info"}) or self._snapshots:
            view.depth = self._metres(view, result, settings)
        if self._around.stopping():
            return
        self._publisher.publish(view, wanted, settings)
        self._finish_snapshots(view, settings)
        latency_s = self._around.now_s() - seconds(message.header.stamp)
        by_stamp = abs(latency_s) < OTHER_CLOCK_S
        self._health.finished(
            latency_s=latency_s if by_stamp else self._around.clock() - frame.received_s,
            by_stamp=by_stamp,
            engine_s=engine_s,
            wait_s=started_s - frame.received_s,
        )

    def _work_wanted(self, settings: Settings) -> frozenset[str]:
        """The outputs that somebody listens to and that can be given."""
        wanted = self._outputs.wanted()
        if settings.scale.mode == "none" and wanted & _METRIC:
            self._health.count(
                "no_scale",
                f"Depth or points are wanted, but scale.mode is none; set it to {WAYS_TO_METRES}.",
                withheld=True,
            )
            wanted -= _METRIC | {"camera_info"}
        return wanted if wanted & DEPTHS else wanted - {"camera_info"}

    def _on_its_topic(
        self, wanted: frozenset[str], found: camera_info.CameraModel | MessageError | None
    ) -> frozenset[str]:
        """The outputs without the depth image of the other geometry; who listens to that alone is told."""
        straight = not isinstance(found, camera_info.CameraModel) or found.is_straight
        right, wrong = (STRAIGHT, BENT) if straight else (BENT, STRAIGHT)
        if wanted & wrong and not wanted & right:
            asked, given = (TOPICS[min(names)][1] for names in (wanted & wrong, right))
            why = "its lens is straight, or input.rectify is true" if straight else "its lens is distorted"
            self._health.count(
                "other_geometry", f"{asked} is listened to, but the depth image is on {given}: {why}.", withheld=True
            )
            wanted -= {"camera_info"}
        return wanted - wrong

    def _note(self, picture: images.DecodedImage, encoding: str, header: Any) -> None:
        """Count what is odd about a frame that is used."""
        for note in picture.notes:
            self._health.count(note)
        if self._shape not in (None, picture.image.shape):
            height, width = picture.image.shape[:2]
            self._health.count("size_changed", f"The image is {width}x{height} now.")
        if self._encoding not in (None, encoding):
            self._health.count("encoding_changed", f"The image's encoding is {encoding} now.")
        self._shape, self._encoding = picture.image.shape, encoding
        self._check_header(header)

    def _check_header(self, header: Any) -> None:
        if not header.frame_id:
            self._health.count("empty_frame_id", "The image names no frame, so viewers cannot place the depth.")
        stamp_s = seconds(header.stamp)
        back = self._stamp_s is not None and stamp_s < self._stamp_s
        if back:
            self._tracker.reset()
        now_s = self._around.now_s()  # 0 where a simulation's clock has not come yet
        if back or stamp_s == 0 or (now_s and stamp_s > now_s + FUTURE_S):
            self._health.count("time_jump", f"The image's stamp is {stamp_s:.3f} s, after {self._stamp_s or 0:.3f} s.")
        self._stamp_s = stamp_s

    def _told_lens(
        self,
        found: camera_info.CameraModel | MessageError | None,
        info: Any,
        header: Any,
        image: NDArray[np.uint8],
        settings: Settings,
        wanted: frozenset[str],
    ) -> tuple[Any, camera_info.CameraModel | None]:
        """The camera info in use (None: none) and the lens (None: unknown); what is odd about them is counted."""
        fallback = fallback_lens(image, settings.input)
        withheld = fallback is None and bool(wanted & {"points", "camera_info"})
        if found is None:
            what = f"There is no camera info; {self._around.silence_of('camera_info')}"
            self._health.count("no_camera_info", without_lens(what, fallback), withheld=withheld)
            return None, fallback
        if isinstance(found, MessageError):
            self._health.count(found.cause, without_lens(str(found).rstrip("."), fallback), withheld=withheld)
            return None, fallback
        other = bool(info.header.frame_id and header.frame_id) and info.header.frame_id != header.frame_id
        notes = (*found.notes, "camera_info_frame") if other else found.notes
        if notes != self._lens_notes:  # told when they change: they stay true for every frame
            self._lens_notes = notes
            for note in notes:
                self._health.count(note, camera_info.unknown_distortion(info) if note == "unknown_distortion" else "")
        offset_s = seconds(info.header.stamp) - seconds(header.stamp)
        if abs(offset_s) > INFO_OFFSET_S:
            self._health.count("camera_info_late", f"The newest camera info is {offset_s:+.1f} s from the image.")
        return info, found

    def _metres(self, view: FrameMaps, result: Any, settings: Settings) -> NDArray[np.float32] | None:
        """Depth (H, W) in metres, or None where nothing gives a scale now."""
        if not result.valid.any():
            return view.disparity  # NaN everywhere
        stamp_s = seconds(view.header.stamp)
        samples = problem = None
        try:
            samples = self._samples(view, result.valid, stamp_s, settings)
        except MessageError as error:
            problem = error
        scale = self._tracker.update(
            view.disparity,
            result.valid,
            samples,
            stamp_s,
            self._around.clock(),
            metric=result.scale_shift,
            absence=self._absence(stamp_s, settings) if problem is None else str(problem),
        )
        withheld = scale.scale_shift is None
        if problem is not None:
            self._health.count(problem.cause, str(problem), withheld=withheld)
        if samples is not None and samples.note:
            self._health.count("unregistered_sensor", samples.note)
        if scale.rejected:
            self._health.count("scale_rejected", scale.reason, withheld=withheld)
        if scale.state == "stale":
            self._health.count("scale_stale", scale.reason, withheld=withheld)
        if scale.scale_shift is None:
            if settings.scale.mode in OWN_METRES:
                self._health.count("no_scale", f"Model {self._engine.name}: {scale.reason}", withheld=True)
            return None
        limits = settings.depth
        far_m = limits.max_depth_m or None
        depth = pro.disparity_to_depth(view.disparity, scale.scale_shift, max_depth_m=far_m, sky=result.sky)
        if view.over_ground is not None and scale.state == "ok":
            depth = levelled(depth, view.lens, *view.over_ground)
        if limits.min_depth_m:
            depth[depth < limits.min_depth_m] = np.nan
        return depth

    def _samples(
        self, view: FrameMaps, valid: NDArray[np.bool_], stamp_s: float, settings: Settings
    ) -> sensor_samples.Samples | None:
        """What the sensor saw at the time of the image, or what the ground tells; None where nothing is asked of them,
        or the sensor sent nothing then."""
        if settings.scale.mode == "ground":
            view.over_ground = camera_over_ground(settings.scale, view.header.frame_id, self._around.tf)
            return ground_samples(view.disparity, valid, view.lens, *view.over_ground, stamp_s)
        if settings.scale.mode != "align":
            return None
        message = self._sensor.nearest(stamp_s, settings.scale.max_offset_s)
        if message is None:
            return None
        height, width = view.disparity.shape
        found = sensor_samples.samples_of(
            message,
            width,
            height,
            lens=view.lens,
            frame_id=view.header.frame_id,
            sensor_pose=settings.scale.sensor_pose,
            sensor_info=self._sensor.info,
            tf=self._around.tf,
            rectification=None if self._sensor_is_rectified() else view.rectification,
        )
        return sensor_samples.in_metres(found)

    def _sensor_is_rectified(self) -> bool:
        """Whether a depth image that is registered to the image is, by the name of its topic."""
        return camera_info.is_rectified(self._around.topic_of("sensor"), "auto")

    def _absence(self, stamp_s: float, settings: Settings) -> str:
        """Why there is no message of the sensor at the time of the image."""
        if settings.scale.mode != "align":
            return ""
        offset_s = self._sensor.offset_s(stamp_s)
        if offset_s is None:
            return self._around.silence_of("sensor")
        return (
            f"the nearest stamp on {self._around.topic_of('sensor')} is {offset_s:+.2f} s from the image's, and "
            f"scale.max_offset_s is {settings.scale.max_offset_s:g}"
        )

    def _finish_snapshots(self, view: FrameMaps, settings: Settings) -> None:
        while self._snapshots:
            future = self._snapshots.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._write_snapshot(view, settings))
            except Exception as error:  # whoever asked gets it
                future.set_exception(error)

    def _write_snapshot(self, view: FrameMaps, settings: Settings) -> Path:
        points = info = None
        if view.lens is not None:
            info = camera_info.info_message(view.info, view.lens, view.header)
            if view.depth is not None:
                points = clouds.points_of(clouds.build_cloud(view.depth, view.image, view.lens, settings.points))
        return write_snapshot(
            Path(settings.snapshot_folder).expanduser(),
            f"{view.header.stamp.sec}.{view.header.stamp.nanosec:09d}",
            image=view.image,
            disparity=view.disparity,
            depth=view.depth,
            cloud=points,
            info=info,
        )


def _where(error: Exception) -> str:
    """The error and the line of ours that it came from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(error).__name__}: {error} ({place}); please report it."

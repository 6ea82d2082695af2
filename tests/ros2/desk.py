"""A processor on a desk: listeners and messages are plain objects, and settings are set between two frames."""

from __future__ import annotations

import numpy as np
from rig import camera_image, camera_info
from sensor_msgs.msg import Image

import pro_engine as pro
from ros2_pro.frames.diagnostics import Health
from ros2_pro.frames.model import Engine, Models
from ros2_pro.frames.processor import Processor, Surroundings
from ros2_pro.graph.publishers import TOPICS
from ros2_pro.messages.caches import CameraInfoCache, Frame, SensorCache
from ros2_pro.settings import from_values

WIDTH, HEIGHT = 64, 48
DISPARITY = np.broadcast_to(np.linspace(1, 0.1, WIDTH, dtype=np.float32), (HEIGHT, WIDTH))


class Model:
    """Loads, and infers as it is told; keeps what it was asked for."""

    def __init__(self):
        self.name, self.device = "model", "cpu"
        self.loaded, self.options = [], []
        self.disparity, self.metric = DISPARITY, None

    def load(self, name, **given):
        self.loaded.append({"model": name, **given})
        return self

    def infer(self, image, *, options, progress, intrinsics=None, lens_source="given"):
        self.options.append(options)
        return pro.DepthResult(self.disparity.copy(), np.ones((HEIGHT, WIDTH), np.bool_), scale_shift=self.metric)


class Infos(CameraInfoCache):
    """Waits for nothing; keeps how long it was to wait for the first camera info."""

    def __init__(self):
        super().__init__()
        self.waits_s = []

    def get(self, timeout_s):
        self.waits_s.append(timeout_s)
        return super().get(0)


class Desk:
    """A processor on a desk: listeners and messages are plain lists, settings are set and the clock is turned between
    two frames."""

    def __init__(self, folder):
        self.values = {"snapshot_folder": str(folder), "scale.mode": "fixed"}
        self.listeners = frozenset(TOPICS) - {"disparity"}  # which needs a baseline
        self.told = []  # causes, and whether an output is withheld for them
        self.model = Model()
        self.lines = []  # of the log
        self.health = Health(self._tell)
        self.infos, self.sensor = Infos(), SensorCache()
        self.now_s = 1000.0  # of the steady clock
        self.published = {}
        self.stamp_s = 0  # of the last image; every image is a second later
        self.ros_time_s = 1e9
        self.topics = {"image": "/camera/image_raw", "sensor": "/camera/depth"}
        self.tf = None
        around = Surroundings(
            settings=lambda: from_values(self.values),
            now_s=lambda: self.ros_time_s,
            stopping=lambda: False,
            topic_of=lambda which: self.topics[which],
            tf=self,
            clock=lambda: self.now_s,
        )
        self.processor = Processor(around, Engine(Models(self.model.load)), self.health, self, self.infos, self.sensor)

    def _tell(self, cause, line, withheld):
        self.told.append((cause, withheld))
        self.lines.append(line)

    def pose(self, frame, sensor_frame):
        """What tf says."""
        return None if self.tf is None else self.tf[frame, sensor_frame]

    def wanted(self):
        return self.listeners

    def publish(self, name, message):
        self.published[name] = message

    def set(self, **values):
        self.values.update({name.replace("__", "."): value for name, value in values.items()})

    def look(self, sensor=None, *, offset_s=0.0, info=None):
        """What is published of the next frame; `sensor` is a depth image (H, W) or a message seen `offset_s` later,
        `info` a camera info, None for a plain one, or False for none."""
        self.stamp_s += 1
        stamp_s = self.stamp_s
        image = camera_image(WIDTH, HEIGHT)
        image.header.stamp.sec = stamp_s
        if info is not False:
            self.infos.put(camera_info(WIDTH, HEIGHT, stamp=image.header.stamp) if info is None else info)
        if sensor is not None:
            message = depth_message(sensor) if isinstance(sensor, np.ndarray) else sensor
            message.header.stamp.sec = stamp_s
            message.header.stamp.nanosec = int(offset_s * 1e9)
            self.sensor.put(message)
        self.published = {}
        self.processor.process(Frame(image, self.now_s))
        assert not self.health.counts().get("internal_error"), self.health.report(stale_after_s=1).text
        return dict(self.published)

    def depth(self, *given, **more):
        """The depth image of the next frame, or None."""
        message = self.look(*given, **more).get("depth")
        return None if message is None else np.frombuffer(message.data, np.float32).reshape(HEIGHT, WIDTH).copy()

    def points(self, *given, **more):
        """The points of the next frame, (H, W, 4)."""
        message = self.look(*given, **more)["points"]
        return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, 4).copy()


def depth_message(depth):
    message = Image(height=depth.shape[0], width=depth.shape[1], encoding="32FC1", step=4 * depth.shape[1])
    message.header.frame_id = "camera_optical"
    message.data.frombytes(np.ascontiguousarray(depth, np.float32).tobytes())
    return message


def measured(scale, shift):
    """What a sensor sees where 1 / depth = scale * disparity + shift."""
    return (1 / (scale * DISPARITY + shift)).astype(np.float32)


def count(points):
    return int((~np.isnan(points[..., 0])).sum())

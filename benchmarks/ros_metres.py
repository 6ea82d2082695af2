"""How right the node's metres are on the scene of the demo camera, by scale.mode, height and pitch of the camera.

    python benchmarks/ros_metres.py [--size 1280x720] [--model hybrid] [--refine trained]

Frames go through the node's own processor, without a graph around it: the bundled model, camera info, and for align the
demo's depth sensor (160 columns, noise, limited range). Printed are medians of |depth / truth - 1| over frames, for the
floor and for what stands on it. `fixed` has the scale and shift that fit the first frame best. Needs the extra `ros`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

import pro_engine as pro
from ros2_pro.demo.node import camera_info, seen_by_sensor
from ros2_pro.demo.scene import DemoScene
from ros2_pro.frames.diagnostics import Health
from ros2_pro.frames.model import Engine, Models
from ros2_pro.frames.processor import Processor, Surroundings
from ros2_pro.messages import images
from ros2_pro.messages.caches import CameraInfoCache, Frame, SensorCache
from ros2_pro.settings import from_values

POSES = tuple((height_m, pitch_deg) for height_m in (0.3, 1.5) for pitch_deg in (0.0, 12.0, 25.0))
TIMES_S = (0.0, 1.3, 4.2)
FLOOR = 1e-3  # relative difference from the floor's depth


class Depths:
    """In the place of the node's publishers: listens to depth alone and keeps it."""

    newest: Any = None

    def wanted(self) -> frozenset[str]:
        """The outputs that are listened to."""
        return frozenset({"depth"})

    def publish(self, name: str, message: Any) -> None:
        """Keep the depth image."""
        if name == "depth":
            self.newest = message


def depths(
    values: dict[str, Any], models: Models, pictures: list[NDArray[np.uint8]], truths: list[NDArray[np.float32]],
    lens: pro.Intrinsics,
) -> Iterator[NDArray[np.float32] | None]:  # fmt: skip
    """What the node publishes for each picture, or None."""
    now, noise, kept = [0.0], np.random.default_rng(0), Depths()
    around = Surroundings(
        settings=lambda: from_values(values),
        now_s=lambda: now[0],
        stopping=lambda: False,
        topic_of=lambda which: "image_rect",
        clock=lambda: now[0],
    )
    infos, sensor = CameraInfoCache(), SensorCache()
    processor = Processor(around, Engine(models), Health(lambda *_: None), kept, infos, sensor)  # type: ignore[arg-type]
    for time_s, picture, truth in zip(TIMES_S, pictures, truths, strict=True):
        now[0] = 1.0 + time_s
        message = images.image_message(picture, "rgb8", Image().header)
        message.header.frame_id, message.header.stamp.sec = "camera", int(now[0])
        message.header.stamp.nanosec = round(now[0] % 1 * 1e9)
        infos.put(camera_info(lens, message.header))
        sensor.put(images.image_message(seen_by_sensor(truth, noise), "32FC1", message.header))
        kept.newest = None
        processor.process(Frame(message, now[0]))
        yield None if kept.newest is None else np.frombuffer(kept.newest.data, np.float32).reshape(truth.shape).copy()


def errors(found: list[Any], truths: list[NDArray[np.float32]], floor: NDArray[np.float32]) -> list[float]:
    """Median relative errors on the floor and on objects; NaN where there are none, or no depth."""
    result = []
    for of_floor in (True, False):
        parts = [np.full(1, np.nan)]
        for depth, truth in zip(found, truths, strict=True):
            with np.errstate(invalid="ignore"):
                chosen = np.isfinite(truth) & ((np.abs(truth / floor - 1) < FLOOR) == of_floor)
            if depth is not None and chosen.any():
                parts.append(np.abs(depth[chosen] / truth[chosen] - 1))
        result.append(float(np.nanmedian(np.concatenate(parts))) if len(parts) > 1 else float("nan"))
    return result


def first_fit(
    models: Models, engine_values: dict[str, str], picture: NDArray[np.uint8], truth: NDArray[np.float32]
) -> pro.ScaleShift:
    """The scale and shift that bring the model's map of a picture nearest to the truth."""
    engine, settings = Engine(models), from_values(engine_values).engine
    engine.ensure(settings)
    known = np.isfinite(truth)
    return pro.fit_scale_shift(engine.infer(picture, settings, lambda: True).disparity, truth, valid=known)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--refine", default="none")
    given = parser.parse_args()
    of_engine = {"engine.model": given.model, "engine.refine": given.refine, "engine.device": "cpu"}
    width, height = map(int, given.size.split("x"))
    lens, models = pro.Intrinsics.from_fov(width, height, fov_x_deg=60.0), Models()
    print("| scale.mode | height (m) | pitch | floor | objects |\n|---|---|---|---|---|")
    for height_m, pitch_deg in POSES:
        scene = DemoScene(lens, height_m, np.radians(pitch_deg))
        pictures, truths = map(list, zip(*map(scene.render, TIMES_S), strict=True))
        floor = ground_depth(lens, height_m, pitch_deg)
        first = first_fit(models, of_engine, pictures[0], truths[0])
        place = {"scale.camera_height_m": height_m, "scale.pitch_deg": pitch_deg}
        modes: dict[str, dict[str, Any]] = {
            "align": {},
            "ground": place,
            "fixed": {"scale.factor": first.scale, "scale.shift": first.shift},
        }
        for mode, values in modes.items():
            values |= {"scale.mode": mode, **of_engine}
            found = list(depths(values, models, pictures, truths, lens))
            cells = ("-" if np.isnan(value) else f"{value:.1%}" for value in errors(found, truths, floor))
            print(f"| {mode} | {height_m} | {pitch_deg:.0f} | {' | '.join(cells)} |", flush=True)


def ground_depth(lens: pro.Intrinsics, height_m: float, pitch_deg: float) -> NDArray[np.float32]:
    """Depth (H, 1) of the floor; infinite above the horizon."""
    down = pro.down_vector(pitch_deg, 0.0)
    slope = down[1] * (np.arange(lens.height) - lens.cy) / lens.fy + down[2]
    depth = np.full(lens.height, np.inf)
    depth[slope > 0] = height_m / slope[slope > 0]
    return depth[:, None].astype(np.float32)


if __name__ == "__main__":
    main()

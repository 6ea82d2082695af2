"""3,000 messages as no camera would send them, through the real node: each is done or dropped, and the node lives."""

from __future__ import annotations

import os
import select
import warnings
from pathlib import Path

import numpy as np
import pytest
from fault_rig import HEIGHT, WIDTH, CompressedRig, FaultRig, start_stub
from fuzz import Fuzz
from rig import OUTPUTS, PATIENCE_S, qos, rclpy, wait_for

from ros2_pro.faults import CAUSES, MessageError
from ros2_pro.messages import camera_info, images
from ros2_pro.messages.rectification import rectification_of

IMAGES, COMPRESSED = 2700, 300
WARM_UP = 200
GROWTH_MB = 100


class Acks:
    """A pipe by which the stub tells of every frame that was worked on."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path, self.count = path, 0
        self._pipe = os.open(path, os.O_RDWR)  # so that neither side waits for the other to open it

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        """Whether the next frame was worked on."""
        ready, _, _ = select.select([self._pipe], [], [], timeout_s)
        came = bool(ready and os.read(self._pipe, 1))
        self.count += came
        return came

    def close(self) -> None:
        """Nobody tells any more."""
        os.close(self._pipe)


@pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose one of the messages
@pytest.mark.parametrize(("transport", "count"), [("raw", IMAGES), ("compressed", COMPRESSED)])
def test_the_node_outlives_messages_of_all_kinds(start, namespace, tmp_path, transport, count):
    acks, fuzz = Acks(tmp_path / "acks"), Fuzz(20)
    process = start_stub(start, namespace, acks=acks.path, input__transport=transport)
    rig = (FaultRig if transport == "raw" else CompressedRig)(process, namespace, ())
    make = fuzz.image if transport == "raw" else fuzz.compressed
    try:
        # Listeners that never look, so that all outputs are made, at little cost.
        listeners = rclpy.create_node("listeners", namespace=namespace, context=rig.context)
        for topic, kind in OUTPUTS.items():
            listeners.create_subscription(kind, topic, lambda message: None, qos())
        found = (rig.image.get_subscription_count, rig.info.get_subscription_count)
        assert wait_for(lambda: all(count() for count in found)), process.text()
        assert wait_for(lambda: " is loaded on " in process.text()), process.text()  # images before it are dropped
        assert wait_for(lambda: taken(rig, acks)), process.text()
        before = rig.report()
        for number in range(count):
            image = make()
            rig.info.publish(fuzz.camera_info(getattr(image, "width", WIDTH), getattr(image, "height", HEIGHT)))
            rig.image.publish(image)
            assert acks.wait(), f"message {number} is not worked on: {image.header}; {process.text()[-2000:]}"
            if number == WARM_UP:
                warm_mb = process.resident_mb()
        report, growth_mb = rig.report(), process.resident_mb() - warm_mb
        received, finished, dropped = (
            int(report[name]) - int(before[name]) for name in ("frames received", "frames finished", "frames dropped")
        )
        print(f"{transport}: {received} received, {finished} finished, {dropped} dropped, {growth_mb:+.1f} MB")
        assert received == count and finished + dropped == count
        assert min(finished, dropped) > 0.2 * count and growth_mb < GROWTH_MB
        assert not [cause for cause in ("internal_error", "publish_failed", "overrun") if cause in rig.moved({})]
        rig.listen("depth/image_rect")
        rig.ready()
        rig.healthy()
    finally:
        rig.close()
        acks.close()


def taken(rig: FaultRig, acks: Acks) -> bool:
    """Whether the node works on frames, and is through with all that it has received."""
    rig.send(rig.good_frame())
    done, report = acks.wait(1.0), rig.report()
    return done and acks.count + int(report["count overrun"]) == int(report["frames received"])


def test_reading_messages_raises_nothing_but_message_errors():
    """Nor does numpy warn, as it would of numbers that nobody thought of."""
    fuzz, seen, lines = Fuzz(21), set(), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(3000):
            image = fuzz.compressed() if number % 10 == 0 else fuzz.image()
            try:
                picture = images.decode_compressed(image) if number % 10 == 0 else images.decode_image(image)
                height, width = picture.image.shape[:2]
                assert picture.image.shape == (height, width, 3) and picture.image.dtype == np.uint8
                seen.update(picture.notes)
                message = fuzz.camera_info(width, height)
                lens = camera_info.lens_from_info(message, width, height, rectified=number % 2 == 0)
                seen.update(lens.notes)
                if rectification := rectification_of(message, lens):
                    lens = rectification.lens
                    assert rectification.picture(picture.image).shape == (height, width, 3)
                came = camera_info.info_message(None, lens, image.header)
                assert (came.width, came.height) == (width, height) and all(np.isfinite(came.k)) and came.k[0] > 0
            except MessageError as error:
                seen.add(error.cause)
                lines.append(str(error))
    wanted = {"bad_encoding", "short_data", "bad_step", "empty_image", "too_large", "bad_compressed", "bad_camera_info"}
    assert wanted <= seen <= set(CAUSES), "the fuzz does not reach everything"
    assert not [line for line in lines if "\n" in line]

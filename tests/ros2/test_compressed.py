"""Compressed outputs, and compressedDepth as a sensor: read by the rules of the format."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from desk import DISPARITY, HEIGHT, WIDTH, Desk, depth_message, measured
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from ros2_pro.faults import MessageError
from ros2_pro.messages.compressed_depth import compressed_depth, decode_compressed_depth


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def read(message):
    """A reader by the format's own rules: what compressed_depth_image_transport gives of such a message."""
    encoding, kind = message.format.split("; ")
    assert kind == "compressedDepth png"
    data = bytes(message.data)
    _, a, b = struct.unpack("<iff", data[:12])
    values = cv2.imdecode(np.frombuffer(data[12:], np.uint8), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    if encoding == "16UC1":
        return values
    return np.where(values > 0, np.float32(a) / (values.astype(np.float32) - np.float32(b)), np.nan)


@pytest.mark.parametrize(("near", "far"), [(0.3, 8.0), (1.0, 400.0), (2.0, 2.0), (1e-4, 50.0)])
def test_metres_come_back_within_the_quantisation(near, far):
    depth = np.linspace(near, far, 64 * 48, dtype=np.float32).reshape(48, 64)
    depth[0, :3] = np.nan, np.inf, 0
    found = read(compressed_depth(depth, "32FC1", Header()))
    assert np.isnan(found[0, :3]).all()
    known, kept = depth.ravel()[3:], found.ravel()[3:]
    step = (1 / max(near, far / 1000) - 1 / far) / 65534
    seen = known >= far / 1000  # what is nearer is as near as that
    assert (np.abs(kept - known) <= 0.51 * step * known**2 + 2e-6 * known)[seen].all()


def test_millimetres_come_back_exactly():
    values = np.random.default_rng(0).integers(0, 65536, (48, 64)).astype(np.uint16)
    message = compressed_depth(values, "16UC1", Header(frame_id="camera"))
    np.testing.assert_array_equal(read(message), values)
    assert message.header.frame_id == "camera"
    ours = decode_compressed_depth(message)
    np.testing.assert_allclose(ours[values > 0], values[values > 0] / 1000, rtol=1e-6)
    assert np.isnan(ours[values == 0]).all()


def test_ours_reads_as_the_format_says():
    message = compressed_depth(np.full((3, 4), 2.5, np.float32), "32FC1", Header())
    np.testing.assert_allclose(decode_compressed_depth(message), read(message), rtol=1e-6)
    assert np.isnan(decode_compressed_depth(compressed_depth(np.full((3, 4), np.nan, np.float32), "32FC1", None))).all()


DATA = bytes(compressed_depth(np.ones((3, 4), np.float32), "32FC1", Header()).data)


@pytest.mark.parametrize(
    ("form", "data", "cause"),
    [
        ("32FC1; compressedDepth rvl", DATA, "bad_encoding"),
        ("rgb8; jpeg compressed bgr8", DATA, "bad_encoding"),
        ("", DATA, "bad_encoding"),
        ("32FC1; compressedDepth png", b"", "bad_compressed"),
        ("32FC1; compressedDepth png", DATA[:30], "bad_compressed"),
        ("32FC1; compressedDepth png", DATA[:12] + b"no picture", "bad_compressed"),
        ("16UC1; compressedDepth png", DATA[:12] + cv2.imencode(".png", np.ones((3, 4), np.uint8))[1].tobytes(),
         "bad_compressed"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(form, data, cause):
    message = CompressedImage(format=form)
    message.data.frombytes(data)
    with pytest.raises(MessageError) as caught:
        decode_compressed_depth(message)
    assert caught.value.cause == cause


def test_the_node_gives_both_and_only_what_is_listened_to(desk):
    out = desk.look()
    depth = np.frombuffer(out["depth"].data, np.float32).reshape(HEIGHT, WIDTH).copy()
    np.testing.assert_allclose(read(out["depth_compressed"]), depth, rtol=1e-3)
    assert out["depth_compressed"].header == out["depth"].header
    picture = cv2.imdecode(np.frombuffer(out["preview_compressed"].data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    shown = np.frombuffer(out["preview"].data, np.uint8).reshape(picture.shape).astype(int)
    assert np.abs(picture - shown).mean() < 6
    desk.set(depth__encoding="16UC1")
    out = desk.look()
    np.testing.assert_array_equal(
        read(out["depth_compressed"]), np.frombuffer(out["depth"].data, np.uint16).reshape(HEIGHT, WIDTH)
    )
    desk.listeners = frozenset({"depth_compressed"})
    assert set(desk.look()) == {"depth_compressed", "camera_info"}
    desk.listeners = frozenset({"preview_compressed"})
    assert set(desk.look()) == {"preview_compressed"}


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_a_compressed_sensor_gives_the_scale(desk, encoding):
    desk.set(scale__mode="align")
    depth = measured(0.3, 0.2)
    values = depth if encoding == "32FC1" else np.rint(depth * 1000).astype(np.uint16)
    message = compressed_depth(values, encoding, depth_message(depth).header)
    np.testing.assert_allclose(desk.depth(message), 1 / (0.3 * DISPARITY + 0.2), rtol=0.01)

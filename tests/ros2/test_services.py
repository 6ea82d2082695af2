"""Parameters of a running node: set, refused, read-only; and the services ~/snapshot and ~/reload."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from rig import OFTEN, OUTPUTS, PATIENCE_S, camera_image, wait_for
from std_srvs.srv import Trigger

import pro_engine as pro
from ros2_pro.frames.diagnostics import STALE
from ros2_pro.settings import Settings, options, value_of

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

ALL = dict(options())
READ_ONLY = [name for name, option in ALL.items() if option.metadata.get("read_only")]
REFUSED = {
    "points.stride": (0, 65, "2", 1.5, True),
    "depth.max_depth_m": (-1.0, math.nan, math.inf, "far", [1.0]),
    "depth.encoding": ("8UC1", 16, ""),
    "points.roi": ([1, 2, 3], [-1, 0, 0, 0], "0", [0.5, 0.0, 1.0, 1.0]),
    "engine.tiles": ([3, 0], [33, 1]),
    "engine.always_run": (1, "true"),
    "engine.hold_scale": (1, "true"),
}


def another(name):
    """An allowed value that is not the default, as a service would send it."""
    default, limits = ALL[name].default, ALL[name].metadata
    if "choices" in limits:
        return limits["choices"][1]
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return [item + type(item)(1) for item in default]
    if isinstance(default, str):
        return f"{default}x"
    middle, step = (default + limits.get("maximum", limits.get("below"))) / 2, limits.get("step")
    return type(default)(middle // step * step if step else middle)


def test_every_writable_parameter_can_be_set_and_read_back(bench):
    table = bench(OFTEN)
    values = {name: another(name) for name in ALL if name not in READ_ONLY and not name.endswith("min_depth_m")}
    results = table.rig.set(**{name.replace(".", "__"): value for name, value in values.items()})
    assert [(name, r.reason) for name, r in zip(values, results, strict=True) if not r.successful] == []
    for name, got in zip(values, table.rig.get(*values), strict=True):
        assert (list(got) if isinstance(values[name], list) else got) == pytest.approx(values[name]), name


def test_a_set_shows_in_the_next_frame(bench):
    table = bench(OFTEN, scale__mode="fixed")
    with table.listening("depth/image_rect", "points", "preview"):
        before = table.look("depth/image_rect", "points", "preview")
        wanted = {"depth__encoding": "16UC1", "points__stride": 4, "preview__max_width": 32, "scale__factor": 0.3}
        assert all(result.successful for result in table.rig.set(**wanted, engine__tiles=[2, 3]))
        after = table.look("depth/image_rect", "points", "preview")
    assert (before["depth/image_rect"].encoding, after["depth/image_rect"].encoding) == ("32FC1", "16UC1")
    assert [(before[t].width, after[t].width) for t in ("points", "preview")] == [(64, 16), (64, 32)]
    depth = np.frombuffer(after["depth/image_rect"].data, np.uint16).reshape(48, 64)
    assert depth[0, 0] == round(1000 / (0.3 * 1 + 0.1)) and table.node.events("infer")[-1]["tiles"] == [2, 3]


def test_the_rate_is_bounded_and_the_input_called_stale_as_parameters_say(bench):
    table = bench(OFTEN)
    rig = table.rig
    with table.listening("relative_disparity"):
        for _ in range(3):
            table.look("relative_disparity")
        assert rig.set(input__max_rate_hz=0.001)[0].successful  # one in 1000 s
        table.look("relative_disparity")
        done = int(rig.report()["frames finished"])
        for _ in range(10):
            table.send()
            time.sleep(0.02)
        report = rig.report(lambda report: int(report["frames received"]) > done + 3)
        assert int(report["frames finished"]) == done and int(report["count overrun"]) >= 2
        assert rig.set(input__stale_after_s=0.5)[0].successful
        rig.report(lambda report: rig.levels[-1][0] == STALE)
        assert float(re.fullmatch(r"no image for (.+) s", rig.levels[-1][1])[1]) >= 0.5


def test_a_read_only_parameter_is_refused_with_a_reason(bench):
    table = bench(OFTEN)
    before = table.rig.get(*READ_ONLY)
    values = [value_of(Settings(), name) for name in READ_ONLY]
    assert before == [list(value) if isinstance(value, tuple) else value for value in values] and len(READ_ONLY) >= 4
    results = table.rig.set(**{name.replace(".", "__"): another(name) for name in READ_ONLY})
    assert not any(result.successful for result in results) and all("read" in result.reason for result in results)
    assert table.rig.get(*READ_ONLY) == before


def test_a_refused_set_changes_nothing(bench):
    table = bench(OFTEN)
    before = table.rig.get(*ALL)
    for name, values in REFUSED.items():
        for value in values:
            given = [Parameter("points.stride", value=7), Parameter(name, value=value)]
            request = SetParametersAtomically.Request(parameters=[item.to_parameter_msg() for item in given])
            result = table.rig.call(SetParametersAtomically, "set_parameters_atomically", request).result
            assert not result.successful and name in result.reason, f"{name} = {value!r}: {result}"
            assert table.rig.get(*ALL) == before
    mixed = table.rig.set(points__min_depth_m=5.0, points__max_depth_m=4.0)
    assert [result.successful for result in mixed] == [True, False] and "smaller" in mixed[1].reason
    assert table.rig.get("points.min_depth_m", "points.max_depth_m") == [5.0, 0.0]
    with table.listening("relative_disparity"):
        table.look("relative_disparity")


def test_a_snapshot_is_equal_to_what_is_published(bench, tmp_path):
    table = bench(OFTEN, scale__mode="fixed", snapshot_folder=str(tmp_path / "shots"))
    rig = table.rig
    with table.listening(*OUTPUTS):
        client = rig.node.create_client(Trigger, "pro/snapshot")
        assert client.wait_for_service(PATIENCE_S)
        future = client.call_async(Trigger.Request())
        taken = []

        def looked():
            taken.append(table.look(*OUTPUTS))
            return future.done()

        assert wait_for(looked) and future.result().success
        folder = Path(future.result().message)
    names = {"image.png", "disparity.npz", "depth.npz", "points.ply", "camera_info.yaml"}
    assert taken and folder.parent == tmp_path / "shots" and {path.name for path in folder.iterdir()} == names
    stamps = ["{0.sec}.{0.nanosec:09d}".format(outputs["preview"].header.stamp) for outputs in taken]
    outputs = taken[stamps.index(folder.name)]
    sent = np.frombuffer(camera_image().data, np.uint8).reshape(48, 64, 3)
    assert np.array_equal(cv2.imread(str(folder / "image.png"))[..., ::-1], sent)
    for name, topic in (("disparity", "relative_disparity"), ("depth", "depth/image_rect")):
        kept, about = pro.load_depth(folder / f"{name}.npz")
        assert np.array_equal(kept, np.frombuffer(outputs[topic].data, np.float32).reshape(48, 64), equal_nan=True)
        assert about.quantity == name
    cloud = np.frombuffer(outputs["points"].data, np.float32).reshape(-1, 4)
    cloud = cloud[~np.isnan(cloud[:, 0])]
    kept = trimesh.load(folder / "points.ply")
    np.testing.assert_allclose(kept.vertices, cloud[:, :3], rtol=1e-6)
    red = (cloud[:, 3].copy().view(np.uint32) >> 16).astype(np.uint8)
    assert np.array_equal(np.asarray(kept.colors)[:, 0], red)
    info, calibration = outputs["depth/camera_info"], json.loads((folder / "camera_info.yaml").read_text())
    assert (calibration["image_width"], calibration["image_height"]) == (info.width, info.height)
    assert calibration["camera_matrix"]["data"] == list(info.k)
    assert calibration["projection_matrix"]["data"] == list(info.p)


def test_a_snapshot_that_cannot_be_written_says_why(bench, tmp_path):
    (tmp_path / "file").write_text("in the way")
    table = bench(OFTEN, snapshot_folder=str(tmp_path / "file"))
    client = table.rig.node.create_client(Trigger, "pro/snapshot")
    assert client.wait_for_service(PATIENCE_S)
    future = client.call_async(Trigger.Request())

    def answered():
        table.rig.image.publish(camera_image(stamp=table.rig.stamp()))
        return wait_for(future.done, 1.0)

    assert wait_for(answered)
    assert not future.result().success and str(tmp_path / "file") in future.result().message


def test_reload_loads_the_model_again_and_keeps_the_old_one_if_that_fails(bench):
    table = bench(OFTEN)
    assert len(table.node.events("load")) == 1
    answer = table.rig.call(Trigger, "reload", Trigger.Request())
    assert answer.success and "stub" in answer.message and len(table.node.events("load")) == 2
    table.node.wish(fail_load=True)
    answer = table.rig.call(Trigger, "reload", Trigger.Request())
    assert not answer.success and "The weights are missing" in answer.message
    with table.listening("relative_disparity"):
        table.look("relative_disparity")
    assert table.rig.counts()["load_failed"] == 1

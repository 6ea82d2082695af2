"""How frames flow: the newest first, nothing for nobody, answers meanwhile, stamps, metres, diagnostics."""

from __future__ import annotations

import contextlib
import sys
import time

import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from rig import HERE, OFTEN, OUTPUTS, Camera, camera_image, ros_arguments, wait_for

from ros2_pro.causes import CAUSES
from ros2_pro.health import ERROR, OK, STALE, WARN

SLACK_S = 0.3  # a frame may be older than one period of the input by this when work on it begins
ANSWER_S = 0.3
FRAMES_4K = 200
LATER = 20  # looks at the memory after the beginning, at the least: a fast camera is through before a slow node
GROWTH_MB = 50
FIGURES = (
    "input rate (Hz)", "output rate (Hz)", "frames received", "frames finished", "frames dropped", "latency p50 (s)",
    "latency p95 (s)", "engine time (s)", "wait before work (s)", "memory (MB)", "peak memory (MB)",
)  # fmt: skip


def accounted(report):
    """Whether every frame that came in was finished or counted as overrun, but for those under way."""
    received, finished, overrun = (int(report[f]) for f in ("frames received", "frames finished", "count overrun"))
    return finished + overrun <= received <= finished + overrun + 2


def test_at_5_times_more_frames_than_it_can_do_the_newest_is_taken(bench, namespace):
    table = bench(OFTEN)
    table.node.wish(delay=0.5)
    rate_hz = 10.0
    with table.listening("disparity"), contextlib.closing(Camera(namespace, rate_hz=rate_hz)):
        table.rig.report(lambda report: int(report["frames finished"]) >= 2)
        seen = len(table.rig.diagnostics)
        table.rig.report(lambda report: int(report["frames finished"]) >= 8, 20)
        reports, levels = table.rig.diagnostics[seen:], table.rig.levels[seen:]
    waits_s = [float(report["wait before work (s)"]) for report in reports]
    assert len(waits_s) >= 3 and max(waits_s) <= 1 / rate_hz + SLACK_S, waits_s
    assert any(level == WARN and "dropped" in text for level, text in levels), levels
    report = table.rig.report()
    assert accounted(report) and int(report["count overrun"]) > 2 * int(report["frames finished"]), report
    assert int(report["frames dropped"]) == int(report["count overrun"])


def test_200_frames_of_4k_at_5_times_more_than_it_can_do_take_no_memory(bench, start, namespace):
    table = bench(OFTEN)
    table.node.wish(delay=0.7)
    memory_mb = {True: [], False: []}
    table.rig.report()
    with table.listening("preview"):
        start(
            [sys.executable, str(HERE / "fast_camera.py"), *ros_arguments(namespace)],
            {"FASTDDS_DEFAULT_PROFILES_FILE": str(HERE.parents[1] / "config" / "fastdds_64mb.xml")},
        )
        begun_s = time.monotonic()
        received = 0
        while received < FRAMES_4K or len(memory_mb[False]) < LATER:
            received = int(table.rig.diagnostics[-1]["frames received"])
            begins = received < FRAMES_4K / 4 or int(table.rig.diagnostics[-1]["frames finished"]) < 4
            memory_mb[begins].append(table.node.resident_mb())
            assert time.monotonic() - begun_s < 90, f"only {received} frames"
            time.sleep(0.1)
        report = table.rig.report()
    waits_s = [float(r["wait before work (s)"]) for r in table.rig.diagnostics]
    rates_hz = [float(r["input rate (Hz)"]) for r in table.rig.diagnostics if int(r["frames received"]) > 10]
    begin_mb, peak_mb = max(memory_mb[True]), max(memory_mb[False])
    print(
        f"{received} frames at {min(rates_hz)} to {max(rates_hz)} Hz, {report['frames finished']} worked on;", end=" "
    )
    print(f"longest wait {max(waits_s):.2f} s; peak {begin_mb:.0f} MB in the first quarter, {peak_mb:.0f} MB later")
    assert peak_mb - begin_mb < GROWTH_MB
    assert max(waits_s) <= 1 / min(rates_hz) + SLACK_S
    assert accounted(report) and int(report["count overrun"]) > FRAMES_4K / 2


def test_nothing_is_computed_for_nobody(bench):
    table = bench(OFTEN)
    for _ in range(5):
        table.rig.image.publish(camera_image(stamp=table.rig.stamp()))
        time.sleep(0.1)
    report = table.rig.report(lambda report: int(report["frames received"]) >= 3)
    assert report["frames finished"] == report["frames dropped"] == "0" and not table.node.events("infer")
    with table.listening("preview"):
        table.look("preview")
    assert table.node.events("infer")


def test_parameters_and_diagnostics_answer_during_an_inference_of_5_s(bench):
    table = bench()
    rig, took_s = table.rig, []
    clients = {
        kind: rig.node.create_client(kind, f"pro/{kind.__name__[:3].lower()}_parameters")
        for kind in (GetParameters, SetParameters)
    }
    assert all(client.wait_for_service(5.0) for client in clients.values())

    def asked(kind, **request):
        begun_s = time.monotonic()
        future = clients[kind].call_async(kind.Request(**request))
        assert wait_for(future.done, 10.0)
        took_s.append(time.monotonic() - begun_s)
        return future.result()

    with table.listening("disparity"):
        table.look("disparity")
        calls = len(table.node.events("infer"))
        table.node.wish(delay=5)
        rig.image.publish(camera_image(stamp=rig.stamp()))
        assert wait_for(lambda: len(table.node.events("infer")) > calls)
        first, end_s, stride = len(rig.diagnostics), time.monotonic() + 5, 1
        while time.monotonic() < end_s - 0.5:
            stride = stride % 9 + 1
            wanted = Parameter("points.stride", value=stride).to_parameter_msg()
            assert asked(SetParameters, parameters=[wanted]).results[0].successful
            assert asked(GetParameters, names=["points.stride"]).values[0].integer_value == stride
            time.sleep(0.1)
        reports, stamps_s = rig.diagnostics[first:], rig.report_stamps_s[first:]
    assert len({report["frames finished"] for report in reports}) == 1, "the inference was over"
    print(f"{len(took_s)} answers: median {np.median(took_s):.3f} s, longest {max(took_s):.3f} s; {np.diff(stamps_s)}")
    assert len(took_s) > 10 and np.quantile(took_s, 0.9) <= ANSWER_S
    assert len(stamps_s) >= 4 and np.diff(stamps_s).mean() == pytest.approx(1.0, abs=0.1)


def test_outputs_are_stamped_exactly_like_the_image_and_of_its_size(bench):
    table = bench(OFTEN, scale__mode="fixed")
    with table.listening(*OUTPUTS):
        for width, height in ((64, 48), (65, 47)):
            outputs = table.look(*OUTPUTS, image=camera_image(width, height))
            stamps = {(m.header.stamp.sec, m.header.stamp.nanosec, m.header.frame_id) for m in outputs.values()}
            assert len(stamps) == 1 and stamps.pop()[2] == "camera_optical"
            assert {(m.width, m.height) for m in outputs.values()} == {(width, height)}


def test_without_a_scale_there_is_disparity_and_no_depth_and_the_log_says_how(bench):
    table = bench(OFTEN, points__stride=2)
    metric = ("depth/image_rect", "depth/camera_info", "points")
    with table.listening("disparity", *metric):
        for _ in range(3):
            table.look("disparity")
        assert not any(table.rig.received[topic] for topic in metric)
        told = [line for line in table.node.text().splitlines() if "no_scale" in line]
        assert told and all(way in told[0] for way in ("scale.mode", "align", "fixed", "metric"))
        assert table.rig.set(scale__mode="fixed", scale__factor=0.5, scale__shift=0.25)[-1].successful
        outputs = table.look("disparity", *metric)
    disparity, depth = (
        np.frombuffer(outputs[topic].data, np.float32).reshape(48, 64) for topic in ("disparity", "depth/image_rect")
    )
    np.testing.assert_allclose(depth, 1 / (0.5 * disparity + 0.25), rtol=1e-6)
    points = np.frombuffer(outputs["points"].data, np.float32).reshape(24, 32, 4)
    known = ~np.isnan(points[..., 2])
    assert known.mean() > 0.9 and np.array_equal(points[known][:, 2], depth[::2, ::2][known])
    info = outputs["depth/camera_info"]
    columns = np.broadcast_to(np.arange(0, 64, 2), (24, 32))[known]
    np.testing.assert_allclose(points[known][:, 0] / points[known][:, 2] * info.k[0] + info.k[2], columns, atol=0.01)


def test_diagnostics_have_every_figure_and_every_level(bench):
    table = bench(OFTEN)
    table.rig.report()
    assert table.rig.levels[-1] == (STALE, "no image yet")
    with table.listening("disparity"):
        for _ in range(3):
            table.look("disparity")
        table.rig.report(lambda report: table.rig.levels[-1] == (OK, "working"))
        last_s = time.monotonic()
        table.rig.report(lambda report: table.rig.levels[-1][0] == STALE, 8)
        assert time.monotonic() - last_s > 2.0 and table.rig.levels[-1][1].startswith("no image for")
        table.node.wish(**{"raise": "RuntimeError"})
        table.rig.image.publish(camera_image(stamp=table.rig.stamp()))
        report = table.rig.report(lambda report: table.rig.levels[-1][0] == ERROR)
    assert table.rig.levels[-1][1] == "engine_error: RuntimeError: as the test wants it"
    figures = {name: float(report[name]) for name in FIGURES}
    assert figures["frames finished"] == 3 <= figures["frames received"]
    assert 0 < figures["latency p50 (s)"] <= figures["latency p95 (s)"] < 2 and figures["memory (MB)"] > 30
    assert (report["model"], report["device"], report["camera info"], report["state"]) == (
        "stub", "cpu", "known", "active",
    )  # fmt: skip
    assert report[f"QoS of {table.rig.namespace}/image"].startswith("reliable")
    assert {f"count {cause}" for cause in CAUSES} <= report.keys()

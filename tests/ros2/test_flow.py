"""How frames flow: the newest first, nothing for nobody, answers meanwhile, stamps, metres, diagnostics."""

from __future__ import annotations

import re
import sys
import time

import numpy as np
import pytest
from rig import HERE, OFTEN, OUTPUTS, camera_image, ros_arguments, wait_for

from ros2_pro.faults import CAUSES
from ros2_pro.frames.diagnostics import ERROR, OK, STALE, WARN

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

BEGIN, ROUNDS, FRAMES_A_ROUND = 4, 8, 12  # of 4K: 96 frames of 25 MB
GROWTH_MB = 50
ANSWERS, REPORTS = 12, 4
FIGURES = (
    "input rate (Hz)", "output rate (Hz)", "frames received", "frames finished", "frames dropped", "latency p50 (s)",
    "latency p95 (s)", "engine time (s)", "wait before work (s)", "memory (MB)", "peak memory (MB)",
)  # fmt: skip


def accounted(report):
    """Whether every frame that came in was finished or replaced by a newer one, but for one in the model and one that
    waits: there is no queue."""
    received, finished, overrun = (int(report[f]) for f in ("frames received", "frames finished", "count overrun"))
    return finished + overrun <= received <= finished + overrun + 2


def test_of_more_frames_than_it_can_do_the_newest_is_taken(bench):
    table = bench(OFTEN)
    rig, node = table.rig, table.node
    with table.listening("relative_disparity"):
        table.look("relative_disparity")
        rig.received["relative_disparity"].clear()
        to_be_taken = []
        for _ in range(4):
            calls = len(node.events("infer"))
            node.wish(hold=True)
            to_be_taken.append(table.send())
            assert wait_for(lambda n=calls: len(node.events("infer")) > n)
            for _ in range(10):
                newest = table.send()
                time.sleep(0.02)
            rig.get("points.stride")  # answered after all that came before
            assert accounted(rig.report())
            node.wish()
            to_be_taken.append(newest)
            assert wait_for(lambda: len(rig.received["relative_disparity"]) >= len(to_be_taken)), node.text()
        assert [message.header.stamp for message in rig.received["relative_disparity"]] == to_be_taken
    report = rig.report()
    assert int(report["frames received"]) == int(report["frames finished"]) + int(report["count overrun"])
    assert int(report["frames dropped"]) == int(report["count overrun"]) > int(report["frames finished"])
    assert any(level == WARN and "dropped" in text for level, text in rig.levels), rig.levels


def test_96_frames_of_4k_of_which_it_can_do_few_take_no_memory(bench, start, namespace):
    table = bench(OFTEN)
    table.node.wish(hold=True)
    table.rig.report()
    peaks_mb = []
    with table.listening("preview"):
        start(
            [sys.executable, str(HERE / "fast_camera.py"), *ros_arguments(namespace)],
            {"FASTDDS_DEFAULT_PROFILES_FILE": str(HERE.parents[1] / "config" / "fastdds_64mb.xml")},
        )
        for _ in range(ROUNDS):
            came, resident_mb = int(table.rig.report()["frames received"]), []

            def enough(report, came=came, resident_mb=resident_mb):
                resident_mb.append(table.node.resident_mb())
                return int(report["frames received"]) >= came + FRAMES_A_ROUND

            report = table.rig.report(enough, 600)
            peaks_mb.append(max(resident_mb))
            done = int(report["frames finished"])
            table.node.wish()
            table.rig.report(lambda report, done=done: int(report["frames finished"]) > done)
            table.node.wish(hold=True)
        report = table.rig.report()
    print(f"{report['frames received']} frames, {report['frames finished']} worked on; MB: {np.round(peaks_mb)}")
    assert max(peaks_mb[BEGIN:]) - max(peaks_mb[:BEGIN]) < GROWTH_MB
    assert accounted(report) and int(report["count overrun"]) > ROUNDS * FRAMES_A_ROUND / 2


def test_nothing_is_computed_for_nobody(bench):
    table = bench(OFTEN)
    for _ in range(5):
        table.send()
        time.sleep(0.1)
    report = table.rig.report(lambda report: int(report["frames received"]) >= 3)
    assert report["frames finished"] == report["frames dropped"] == "0" and not table.node.events("infer")
    with table.listening("preview"):
        table.look("preview")
    assert table.node.events("infer")


def test_parameters_and_diagnostics_answer_during_an_inference(bench):
    table = bench()
    rig = table.rig
    with table.listening("relative_disparity"):
        table.look("relative_disparity")
        calls = len(table.node.events("infer"))
        table.node.wish(hold=True)
        table.send()
        assert wait_for(lambda: len(table.node.events("infer")) > calls)
        first = len(rig.diagnostics)
        for number in range(ANSWERS):
            stride = 1 + number % 9
            assert rig.set(points__stride=stride)[0].successful and rig.get("points.stride") == [stride]
        assert wait_for(lambda: len(rig.diagnostics) >= first + REPORTS)
        assert len(table.node.events("passed")) == calls, "the inference was over"
        table.node.wish()
        assert wait_for(lambda: len(table.node.events("passed")) > calls)


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
    with table.listening("relative_disparity", *metric):
        for _ in range(3):
            table.look("relative_disparity")
        assert not any(table.rig.received[topic] for topic in metric)
        told = [line for line in table.node.text().splitlines() if "no_scale" in line]
        assert told and all(way in told[0] for way in ("scale.mode", "align", "fixed", "metric"))
        assert table.rig.set(scale__mode="fixed", scale__factor=0.5, scale__shift=0.25)[-1].successful
        outputs = table.look("relative_disparity", *metric)
    disparity, depth = (
        np.frombuffer(outputs[topic].data, np.float32).reshape(48, 64)
        for topic in ("relative_disparity", "depth/image_rect")
    )
    np.testing.assert_allclose(depth, 1 / (0.5 * disparity + 0.25), rtol=1e-6)
    points = np.frombuffer(outputs["points"].data, np.float32).reshape(24, 32, 4)
    known = ~np.isnan(points[..., 2])
    assert known.mean() > 0.9 and np.array_equal(points[known][:, 2], depth[::2, ::2][known])
    info = outputs["depth/camera_info"]
    columns = np.broadcast_to(np.arange(0, 64, 2), (24, 32))[known]
    np.testing.assert_allclose(points[known][:, 0] / points[known][:, 2] * info.k[0] + info.k[2], columns, atol=0.01)


def test_an_estimate_is_taken_on_request_alone_and_every_message_says_so(bench):
    table = bench(OFTEN, scale__mode="metric")
    table.node.wish(metric=[0.5, 0.25], metric_source="estimated")
    with table.listening("preview", "depth/image_rect"):
        table.look("preview")
        assert not table.rig.received["depth/image_rect"]
        assert not table.rig.levels[-1][1].endswith("metres are an estimate")
        assert table.rig.set(scale__mode="estimated")[0].successful
        table.look("depth/image_rect")
        table.rig.report(lambda report: report["scale source"] == "estimated")
        seen = len(table.rig.levels)
        assert wait_for(lambda: len(table.rig.levels) >= seen + 5)
        assert all(text.endswith("; metres are an estimate") for _, text in table.rig.levels[seen:])


def test_diagnostics_have_every_figure_and_every_level(bench):
    table = bench(OFTEN)
    table.rig.report()
    assert table.rig.levels[-1] == (STALE, "no image yet")
    with table.listening("relative_disparity"):
        for _ in range(3):
            table.look("relative_disparity")
        table.rig.report(lambda report: table.rig.levels[-1] == (OK, "working"))
        table.rig.report(lambda report: table.rig.levels[-1][0] == STALE)
        assert float(re.fullmatch(r"no image for (.+) s", table.rig.levels[-1][1])[1]) >= 3.0
        table.node.wish(**{"raise": "RuntimeError"})
        table.rig.image.publish(camera_image(stamp=table.rig.stamp()))
        report = table.rig.report(lambda report: int(report["count engine_error"]))
    assert table.rig.levels[-1] == (ERROR, "engine_error: RuntimeError: as the test wants it")
    figures = {name: float(report[name]) for name in FIGURES}
    assert 3 <= figures["frames finished"] < figures["frames received"]
    assert 0 < figures["latency p50 (s)"] <= figures["latency p95 (s)"] and figures["memory (MB)"] > 30
    assert (report["model"], report["device"], report["camera info"], report["state"]) == (
        "stub", "cpu", "known", "active",
    )  # fmt: skip
    assert report[f"QoS of {table.rig.namespace}/image"].startswith("reliable")
    assert {f"count {cause}" for cause in CAUSES} <= report.keys()

"""Several cameras in one process: one model, turns that are fair, and one camera's trouble is not the other's."""

from __future__ import annotations

import contextlib
import gc
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rig import OFTEN, PATIENCE_S, Rig, camera_image, camera_info, stub_command, wait_for

import pro_engine as pro
from ros2_pro.frames.diagnostics import STALE
from ros2_pro.frames.model import Engine, Models
from ros2_pro.frames.newest_frame import FrameWorker, Turns
from ros2_pro.settings import EngineSettings, from_values

WEIGHTS_MB = 150


class Seen:
    """A `process` of several workers that stands still until it is let go."""

    def __init__(self):
        self.frames = []
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, frame):
        self.frames.append(frame)
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE_S)

    def next(self):
        """Let the frame at work go, and wait for the next one."""
        self.go_on.release()
        assert self.begun.acquire(timeout=PATIENCE_S)


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def workers(seen):
    """Three that share a thread."""
    turns = Turns()
    made = [FrameWorker(seen, turns) for _ in range(3)]
    yield made
    seen.go_on.release(100)
    assert all(worker.stop(PATIENCE_S) for worker in made)


def test_each_camera_has_its_turn_with_its_newest_frame(workers, seen):
    a, b, c = workers
    a.put("a0")
    assert seen.begun.acquire(timeout=PATIENCE_S)
    for n in (1, 2, 3):  # a camera that is faster than the others
        a.put(f"a{n}")
    assert not b.put("b1") and not c.put("c1") and b.put("b2")
    for n in range(4, 7):
        seen.next()
        a.put(f"a{n}")
    seen.next()
    assert seen.frames == ["a0", "b2", "c1", "a5", "a6"]


def test_a_camera_that_rests_or_ends_holds_nobody_up(workers, seen):
    a, b, c = workers
    a.rest_until(time.monotonic() + 3600)
    a.put("a")
    b.put("b")
    assert seen.begun.acquire(timeout=PATIENCE_S)
    c.put("c")
    assert b.stop(0.01) is False  # in the middle of its frame
    seen.next()
    assert b.stop(PATIENCE_S)
    b.put("late")
    assert c.ask(lambda: 1).running() is False and seen.frames == ["b", "c"]


class Network:
    """A model that can be let go."""

    name, device = "network", "cpu"


def test_engines_share_a_model_and_the_last_one_lets_it_go():
    loaded = []
    models = Models(lambda name, **given: loaded.append(name) or Network())
    front, left, other = (Engine(models) for _ in range(3))
    settings = EngineSettings(model="a")
    front.ensure(settings)
    left.ensure(settings)
    other.ensure(EngineSettings(model="b"))
    assert loaded == ["a", "b"]
    left.ensure(settings, again=True)
    front.ensure(settings)  # takes the new one
    assert loaded == ["a", "b", "a"] and models.known(settings.of_model()) is not None
    del front
    gc.collect()
    assert models.known(settings.of_model()) is not None
    del left
    gc.collect()
    assert models.known(settings.of_model()) is None and models.known(EngineSettings(model="b").of_model())


@pytest.mark.parametrize("names", [("a", "a"), ("",) * 2, ("a", ""), ("1st",), ("a-b",), ("a/b",), ()])
def test_names_that_cannot_be_are_refused(names):
    with pytest.raises(pro.OptionError, match="cameras"):
        from_values({"cameras": names})


graph = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other


@pytest.fixture
def pair(start, namespace, tmp_path):
    """A process with the cameras front and left, and a rig around each; a file gives the left one its own width, which
    arguments for all, as the launch file gives them, do not change."""
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    cameras: [front, left]\n    scale.mode: fixed\n    preview.max_width: 50\n"
        f"{namespace}/left/pro:\n  ros__parameters:\n    preview.max_width: 20\n"
    )
    with contextlib.ExitStack() as closing:
        of_all = ("--params-file", str(file), "-p", "preview.max_width:=40")
        node = start([*stub_command(namespace), *of_all], OFTEN, wishes={"weights_mb": WEIGHTS_MB})
        rigs = [
            closing.enter_context(contextlib.closing(Rig(f"{namespace}/{name}", ("depth/image_rect", "preview"))))
            for name in ("front", "left")
        ]
        for rig in rigs:
            rig.ready()
            rig.report(lambda report: report["model"])
        yield node, *rigs


def look(rig):
    """Send frames until there is a preview of one more."""
    before = len(rig.received["preview"])

    def came():
        rig.info.publish(camera_info(stamp=rig.stamp()))
        rig.image.publish(camera_image(stamp=rig.stamp()))
        return wait_for(lambda: len(rig.received["preview"]) > before, 1.0)

    assert wait_for(came), rig.diagnostics[-1:]
    return rig.received["preview"][-1]


@graph
def test_two_cameras_have_one_model_and_each_its_topics_parameters_and_diagnostics(pair, start, namespace):
    node, front, left = pair
    assert [look(front).width, look(left).width] == [40, 20]
    assert len(node.events("load")) == 1
    alone = start(stub_command(f"{namespace}/alone"), wishes={"weights_mb": WEIGHTS_MB})
    assert wait_for(lambda: " is loaded on " in alone.text())
    assert node.resident_mb() - alone.resident_mb() < WEIGHTS_MB / 3
    assert front.set(scale__mode="none")[0].successful
    assert [front.get("scale.mode"), left.get("scale.mode")] == [["none"], ["fixed"]]
    before = len(left.received["depth/image_rect"])
    look(front)
    look(left)
    assert wait_for(lambda: len(left.received["depth/image_rect"]) > before)
    assert front.report()["scale"] == "none" and left.report()["scale source"] == "given"
    assert not front.set(cameras=["other"])[0].successful


@graph
def test_rubbish_of_one_camera_and_its_death_are_not_the_others(pair):
    node, front, left = pair
    rubbish = camera_image()
    rubbish.data = rubbish.data[:10]
    for _ in range(3):
        seen = front.counts()["short_data"]
        front.image.publish(rubbish)
        assert wait_for(lambda s=seen: front.counts()["short_data"] > s)
        look(left)
    assert not left.counts()["short_data"] and left.counts()["internal_error"] == 0
    front.set(input__stale_after_s=0.5)
    front.drop(front.image)  # the driver dies
    assert wait_for(lambda: front.levels[-1][0] == STALE and "no image" in front.levels[-1][1])
    look(left)
    assert left.levels[-1][0] != STALE
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert front.call(ChangeState, "change_state", request).success
    look(left)
    front.report(lambda report: report["state"] == "inactive")
    assert left.report()["state"] == "active" and node.end() == 0


@graph
def test_a_camera_without_a_model_stays_behind_alone(start, namespace, tmp_path):
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {cameras: [front, left]}\n"
        f"{namespace}/front/pro:\n  ros__parameters: {{engine.model: missing}}\n"
    )
    command = [*stub_command(namespace), "--params-file", str(file)]
    node = start(command, OFTEN)
    with contextlib.closing(Rig(f"{namespace}/left", ("preview",))) as left:
        left.ready()
        look(left)
        assert "The weights are missing" in node.text() and node.process.poll() is None
    file.write_text("/**:\n  ros__parameters: {cameras: [front, left], engine.model: missing}\n")
    assert start(command, OFTEN).process.wait(PATIENCE_S) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cameras": ["front", "front"]}, "cameras is ['front', 'front']; give each camera another name"),
        ({"cameras": "front"}, "cameras is 'front'; give a list"),
        ({"cameras": ["front", "left"], "scale__mode": "foo"}, "/front: scale.mode is 'foo'"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(start, namespace, given, words):
    node = start(stub_command(namespace, **given))
    assert node.process.wait(PATIENCE_S) == 2 and words in node.text() and "Traceback" not in node.text()


def test_frames_of_one_camera_keep_the_scale_of_that_camera():
    """`engine.hold_scale` compares a frame with the one before of the same camera."""
    maps = iter([np.full((48, 64), v, np.float32) for v in (1.0, 5.0, 2.0, 5.0)])

    class Changing(Network):
        def infer(self, image, **_):
            disparity = next(maps) + np.linspace(0, 0.5, 64, dtype=np.float32)
            return pro.DepthResult(disparity, np.ones((48, 64), np.bool_))

    models = Models(lambda name, **given: Changing())
    front, left = Engine(models), Engine(models)
    settings = EngineSettings(hold_scale=True)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    results = []
    for engine in (front, left, front, left):
        engine.ensure(settings)
        results.append(engine.infer(image, settings, lambda: True).disparity.mean())
    assert np.isclose(results[0], results[2], rtol=0.05) and np.isclose(results[1], results[3], rtol=0.05)

"""The node with a metric model: metres by the camera info, and none that are guessed unless asked for."""

from __future__ import annotations

import re

import numpy as np
import pytest
from desk import HEIGHT, WIDTH, Desk

import pro_engine as pro
from pro_engine.io.weights import RevisionError
from ros2_pro.faults import MessageError
from ros2_pro.frames.model import Engine
from ros2_pro.settings import EngineSettings


@pytest.fixture
def wall(tiny, tmp_path):
    """desk(**wall): a desk whose model knows a wall 3 m away."""

    def made(**known):
        desk = Desk(tmp_path)
        predictor = tiny.predictor(psi=tiny.WallPsi(**known), trained=False)
        desk.model.infer = predictor.infer
        desk.set(scale__mode="metric", engine__refine="blend")
        return desk

    return made


def test_metres_of_the_model(wall):
    np.testing.assert_allclose(wall().depth(), 3.0, rtol=0.01)


@pytest.mark.parametrize("refine", ["none", "blend"])
def test_known_metres_are_exact_through_the_whole_node(wall, refine):
    desk = wall()
    desk.set(engine__refine=refine)
    place = (np.arange(HEIGHT) + 0.5) / HEIGHT  # the wall leans by 2e-3 inverse metres from top to bottom
    truth = np.broadcast_to(1 / (1 / 3 + 2e-3 * (place - 0.5))[:, None], (HEIGHT, WIDTH))
    np.testing.assert_allclose(desk.depth(), truth, rtol=1e-4)


def test_metres_by_the_lens_need_camera_info(wall):
    desk = wall(by_focal=True, focal_px=33.0)
    assert desk.look(info=False).get("depth") is not None  # by the model's own lens
    assert desk.processor.lens_source == "model" and desk.processor.scale_now().scale_shift.source == "metric"
    desk = wall(by_focal=True)
    assert desk.depth(info=False) is None and desk.health.counts()["no_scale"] == 1
    depth = desk.depth()
    lens = desk.infos.get(0)
    focal_px = lens.k[0] * np.sqrt(64 * 96 / (WIDTH * HEIGHT))  # about, in pixels of the model's input
    np.testing.assert_allclose(np.median(depth), 3.0 * focal_px / 100, rtol=0.1)
    assert desk.processor.lens_source == "given"


def test_metres_by_an_assumed_lens_are_taken_where_estimates_are_asked_for_alone(wall):
    desk = wall(by_focal=True)
    desk.set(input__fallback_fov_x_deg=60.0)
    assert desk.depth(info=False) is None
    assert "set scale.mode to estimated" in desk.processor.scale_now().reason
    desk.set(scale__mode="estimated")
    assert desk.depth(info=False) is not None
    assert desk.processor.lens_source == "assumed" and desk.processor.scale_now().scale_shift.source == "assumed"


def test_the_sky_is_infinite(wall):
    depth = wall(sky_share=0.5).depth()
    assert np.isposinf(depth[: HEIGHT // 4]).all() and np.isfinite(depth[-HEIGHT // 4 :]).all()


class Named:
    """A model that has a name."""

    def __init__(self, name):
        self.name = name


def test_a_model_that_takes_much_is_told_in_words_of_the_node_before_it_is_loaded(monkeypatch):
    told = []
    monkeypatch.setattr(pro, "load_model", lambda name, **_: told.append(name) or Named(name))
    engine = Engine(tell=told.append)
    engine.ensure(EngineSettings(device="cpu", tiles=(4, 4)))
    engine.ensure(EngineSettings(model="depth-pro", device="cpu", tiles=(4, 4)))
    assert told[0] == "compact" and told[2] == "depth-pro" and len(told) == 3
    assert re.fullmatch(
        r"engine\.model depth-pro is expected to take about 9\.\d GB of memory and \d+ (min|s) for an image of "
        r"1920x1080; another engine\.model, fewer engine\.tiles or a smaller engine\.fine take less\.",
        told[1],
    )


def test_a_refused_revision_is_told_with_the_parameter_that_takes_it(monkeypatch):
    def refuse(*_, **__):
        raise RevisionError("It is another; set {0} to take it.", "any_revision")

    monkeypatch.setattr(pro, "load_model", refuse)
    with pytest.raises(MessageError, match=r"cannot be loaded: It is another; set engine\.any_revision to take it\."):
        Engine().ensure(EngineSettings(device="cpu"))

"""A photo through MoGe-2 in the authors' file format: its lens, metres, sky and normals in results and files. The tiny
network is built so that it sees a known view, whatever the picture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from command_line import write_photo
from typer.testing import CliRunner

from pro_engine.cli.main import app
from pro_engine.errors import WeightsError
from pro_engine.inference.load import load_model
from pro_engine.inference.tiling import input_size
from pro_engine.models.moge import PATCH, Moge2, MogeShape, published_key, token_grid
from pro_engine.models.moge_config import published_config
from pro_engine.models.moge_depth import MogeDepth, moge_spec
from pro_engine.models.presets import PRESETS, load_refiner
from pro_engine.options import InferenceOptions
from pro_engine.types import Intrinsics

TINY = MogeShape(width=8, depth=2, heads=2, taps=(1, 2), neck_blocks=1, widths=(4, 4, 4, 4), grid=5)
WIDTH, HEIGHT = 160, 120
FOV_X_DEG = 62
FOCAL = 0.8 / math.tan(math.radians(FOV_X_DEG) / 2)  # in half diagonals of a 4:3 photo
SLOPE, METRES = 1.5, 2.0
HORIZON = -0.2  # of v, the height in half diagonals; above it is the sky
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def seeing(shape: MogeShape = TINY, *, slope: float = SLOPE) -> Moge2:
    """A network that sees a ground with z = METRES exp(-slope v) below a sky; its points lack no shift."""
    network = Moge2(shape)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        finest = network.neck.input_blocks[4].weight  # (4, 2, 1, 1), from u and v
        finest[0, 0] = finest[1, 1] = 1
        for head in filter(None, (network.points_head, network.mask_head, network.normal_head)):
            head.input_blocks[4].weight.copy_(torch.eye(4)[:, :, None, None])
        points = network.points_head.output
        points.weight[0, 0] = points.weight[1, 1] = 1 / FOCAL
        points.weight[2, 1] = -slope
        network.mask_head.output.weight[0, 1] = 50
        network.mask_head.output.bias[0] = -50 * HORIZON
        if network.normal_head is not None:
            network.normal_head.output.bias[1] = -3
        network.scale_head[4].bias[0] = math.log(METRES)
    return network


def truth(slope: float = SLOPE) -> np.ndarray:
    """Metres (HEIGHT, WIDTH), +inf in the sky."""
    v = (2 * np.arange(HEIGHT) + 1 - HEIGHT) / HEIGHT * 0.6
    return np.repeat(np.where(v > HORIZON, METRES * np.exp(-slope * v), np.inf)[:, None], WIDTH, 1)


def ground() -> np.ndarray:
    """Where it is surely the ground: away from the sky, and from the border, where enlarging repeats the last row."""
    found = np.zeros((HEIGHT, WIDTH), bool)
    found[46:-3] = True
    return found


def saved(path: Path, network: Moge2) -> Path:
    tensors = {published_key(key): value for key, value in network.state_dict().items()}
    torch.save({"model_config": published_config(network.shape), "model": tensors}, path)
    return path


@pytest.fixture(autouse=True)
def _tiny_presets(monkeypatch):
    """The presets of MoGe-2 have tiny networks that look at 1200 pixels instead of 705,600."""
    for name in ("moge-2-vits", "moge-2-vitl-without-normals"):
        shape = replace(TINY, normals="without" not in name)
        spec = replace(moge_spec(shape), input_area=12 * PATCH**2)

        def build(shape=shape, spec=spec):
            psi = MogeDepth(shape)
            psi.spec = spec
            return psi

        monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], build=build, spec=spec))


@pytest.fixture
def predictor(tmp_path):
    return partial(load_model, "moge-2-vits", weights=saved(tmp_path / "model.pt", seeing()))()


@pytest.mark.parametrize("flags", [[], ["--surface", "torn", "--sky", "drop"]], ids=["no flag", "torn"])
def test_a_photo_as_a_mesh_with_the_models_lens_and_metres_and_its_sky_cut(tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    write_photo(Path("photo.jpg"), WIDTH, HEIGHT)
    saved(Path("tiny.pt"), seeing())
    flags = ["--model", "moge-2-vits", "--weights", "tiny.pt", "--mesh", "glb", "-o", "out", "--json", *flags]
    done = CliRunner().invoke(app, ["infer", "photo.jpg", *flags])
    assert done.exit_code == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["lens"]["source"] == "model" and result["scale"]["source"] == "metric"
    assert result["lens"]["fov_x_deg"] == pytest.approx(FOV_X_DEG, rel=0.01)
    objects = trimesh.load(Path("out") / "photo.mesh.glb").geometry
    front = objects["photo" if "torn" in flags else "front"]
    up, ahead = front.vertices[:, 1], -front.vertices[:, 2]
    of_ground = ahead < 3
    assert ahead.min() > 0.7 and (up / ahead)[of_ground].max() < -HORIZON / FOCAL + 0.05  # nothing above the horizon
    assert of_ground.all() if "torn" in flags else (ahead[~of_ground] > 100).all()  # else the sky is a dome far away
    assert (np.ptp(of_ground[front.faces].astype(int), axis=1) == 0).all()  # which the ground does not lead up to


def test_depth_lens_sky_and_normals_of_a_known_view(predictor):
    result = predictor.infer(IMAGE, options=InferenceOptions(refine="none", keep_normals=True))
    expected = truth()
    assert result.lens_source == "model" and result.scale_shift.source == "metric" and result.notes == ()
    assert result.intrinsics.fov_x_deg == pytest.approx(FOV_X_DEG, rel=1e-3)
    assert result.sky[:34].all() and np.isposinf(result.depth[:34]).all() and not result.sky[46:].any()
    np.testing.assert_allclose(result.depth[ground()], expected[ground()], rtol=0.01)
    np.testing.assert_allclose(result.normals, np.broadcast_to((0, -1, 0), result.normals.shape), atol=1e-5)


@pytest.mark.parametrize("refine", ["trained", "blend"])
def test_patches_keep_the_metres_of_the_whole_picture(predictor, refine):
    result = predictor.infer(IMAGE, options=InferenceOptions(tiles=(2, 2), refine=refine))
    expected = truth()
    assert result.tiles == (2, 2)
    assert np.median(np.abs(result.depth[ground()] / expected[ground()] - 1)) < 0.05


def test_a_known_lens_goes_before_the_models_and_moves_the_shift_with_it(predictor):
    lens = Intrinsics.from_fov(WIDTH, HEIGHT, fov_x_deg=40)
    result = predictor.infer(IMAGE, intrinsics=lens, options=InferenceOptions(refine="none"))
    assert (result.intrinsics, result.lens_source, result.scale_shift.source) == (lens, "given", "metric")
    own = predictor.infer(IMAGE, options=InferenceOptions(refine="none"))
    shift = result.depth[ground()] - own.depth[ground()]
    assert shift.min() > 0.1 and shift.std() < 0.02 * shift.mean()


def test_a_flat_view_tells_no_lens_says_so_and_is_measured_with_an_assumed_one(tmp_path):
    flat = load_model("moge-2-vits", weights=saved(tmp_path / "flat.pt", seeing(slope=0.0)))
    options = InferenceOptions(refine="none")
    alone = flat.infer(IMAGE, options=options)
    assert (alone.intrinsics, alone.depth, alone.scale_shift) == (None, None, None)
    assert len(alone.notes) == 1 and "too flat" in alone.notes[0]
    lens = Intrinsics.from_fov(WIDTH, HEIGHT, fov_x_deg=FOV_X_DEG)
    assumed = flat.infer(IMAGE, intrinsics=lens, lens_source="assumed", options=options)
    assert (assumed.lens_source, assumed.scale_shift.source) == ("assumed", "assumed")
    np.testing.assert_allclose(assumed.depth[ground()], METRES, rtol=0.01)


def test_a_network_without_normals_gives_none(tmp_path):
    network = seeing(replace(TINY, normals=False))
    predictor = load_model("moge-2-vitl-without-normals", weights=saved(tmp_path / "model.pt", network))
    assert not predictor.spec.gives_normals
    assert predictor.infer(IMAGE, options=InferenceOptions(refine="none", keep_normals=True)).normals is None


def test_weights_of_another_network_are_refused(tmp_path):
    other = Moge2(replace(TINY, taps=(1, 2), neck_blocks=2))
    with pytest.raises(WeightsError, match=r"neck\.num_res_blocks is \[0, 2, 2, 2, 0\], not \[0, 1, 1, 1, 0\]"):
        load_model("moge-2-vits", weights=saved(tmp_path / "model.pt", other))


def test_refiners_that_look_at_features_are_refused():
    with pytest.raises(WeightsError, match="moge-2-vits has no features"):
        load_refiner(PRESETS["moge-2-vits"], {"fusion.weight": torch.zeros(1)})


@pytest.mark.parametrize("aspect", [0.5, 0.75, 1.0, 4 / 3, 1.5, 16 / 9, 2.35])
def test_the_predictor_gives_the_network_as_many_tokens_as_it_asks_for(aspect):
    rows, columns = token_grid(3600, aspect)
    found = input_size(1000.0, 1000.0 * aspect, moge_spec(TINY))
    assert found == (rows * PATCH, columns * PATCH)


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("moge-2-vits", 141), ("moge-2-vitb", 419), ("moge-2-vitl", 1324), ("moge-2-vitl-without-normals", 1305)],
)
def test_presets_are_free_and_pinned(name, megabytes):
    weights = PRESETS[name].weights
    assert (weights.filename, weights.licence, weights.use, weights.megabytes) == ("model.pt", "MIT", "free", megabytes)
    assert len(weights.revision) == 40 and len(weights.sha256) == 64
    assert weights.repo == f"Ruicheng/{name.removesuffix('-without-normals')}" + (
        "" if "without" in name else "-normal"
    )

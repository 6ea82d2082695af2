"""Networks exported to ONNX and run by ONNX Runtime: the same depth as PyTorch's, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pro_engine.cli.main import app
from pro_engine.errors import DependencyError, FileError, InputError, WeightsError
from pro_engine.inference.load import load_model
from pro_engine.inference.onnx import FINE_FILE, PSI_FILE, REFINER_FILE, load_onnx
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.resize import resized
from pro_engine.io.depth import load_depth
from pro_engine.io.image import load_image
from pro_engine.jobs.export import RUNNER, RUNNER_FILE, export_onnx, write_runner
from pro_engine.models.depth_anything import DepthAnything
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.options import InferenceOptions

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.cpu  # from where models are exported

PHOTO = Path(__file__).parents[2] / "docs" / "photos" / "drum.jpg"
PARITY = 1e-3  # of the range


def difference(one, other):
    """The largest difference of two maps as a share of their range."""
    return np.abs(one - other).max() / np.ptp(one)


@pytest.fixture(scope="module")
def compact():
    return load_model("compact", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def exported(compact, tmp_path_factory):
    """The bundled model in ONNX files, and what was said of them."""
    folder = tmp_path_factory.mktemp("export") / "new" / "folder"
    return folder, export_onnx(compact, folder)


@pytest.fixture(scope="module")
def in_onnx(exported):
    return load_model("compact", device="cpu", backend="onnxruntime", weights=exported[0])


def test_the_export_is_checked_against_pytorch(exported):
    folder, files = exported
    assert [one.path for one in files] == [folder / PSI_FILE, folder / REFINER_FILE]
    assert sorted(path.name for path in folder.iterdir()) == [PSI_FILE, REFINER_FILE]
    for one in files:
        assert one.size == one.path.stat().st_size > 1e6 and one.difference < PARITY
        onnx.checker.check_model(str(one.path), full_check=True)


@pytest.mark.parametrize("shape", [(1, 1), (3, 4)])
@pytest.mark.parametrize("crop", [(600, 900), (900, 600), (640, 640)])
def test_depth_is_that_of_pytorch_whatever_the_shape_of_the_picture(compact, in_onnx, crop, shape):
    image = load_image(PHOTO)[0][: crop[0], : crop[1]]
    assert image.shape[:2] == crop
    options = InferenceOptions(tiles=shape, batch_size=5, keep_coarse=True)
    wanted, got = (model.infer(image, options=options) for model in (compact, in_onnx))
    assert difference(wanted.coarse, got.coarse) < PARITY and difference(wanted.disparity, got.disparity) < PARITY
    assert got.model == wanted.model and got.tiles == wanted.tiles


def without_torch(folder, image, tmp_path, *words):
    """What the program beside the files makes of an image in a process that can import neither PyTorch nor us."""
    Image.fromarray(image).save(tmp_path / "photo.png")
    for name in ("torch", "pro_engine"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    command = [sys.executable, folder / RUNNER_FILE, tmp_path / "photo.png", tmp_path / "out.npy", *words]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    return np.load(tmp_path / "out.npy")


@pytest.mark.parametrize(
    ("size", "words"),
    [((333, 500), ()), ((900, 640), ()), ((90, 700), ()), ((1300, 40), ()), ((400, 300), ("2x1",))],
)
def test_a_photo_becomes_its_map_without_pytorch(compact, exported, tmp_path, size, words):
    assert write_runner(compact, exported[0]) == exported[0] / RUNNER_FILE
    image = resized(load_image(PHOTO)[0], size)
    options = InferenceOptions(tiles=tuple(int(one) for one in words[0].split("x")) if words else "auto")
    wanted = compact.infer(image, options=options).disparity
    got = without_torch(exported[0], image, tmp_path, *words)
    assert got.dtype == np.float32 and difference(wanted, got) < PARITY


@pytest.mark.parametrize(
    ("photo", "out", "words"),
    [
        ("photo.png", "", ()),
        ("none.png", "out.npy", ()),
        ("photo.png", "out.png", ()),
        ("photo.png", "no/out.npy", ()),
        *(
            ("photo.png", "out.npy", words)
            for words in (("2",), ("0x2",), ("axb",), ("2x2x2",), ("2x2", "2x2"), ("-1x2",))
        ),
    ],
)
def test_what_the_program_cannot_do_is_said_before_it_begins(tmp_path, photo, out, words):
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    said = refusal(tmp_path, photo, *([out] if out else []), *words)
    assert "python run.py PHOTO OUT.npy" in said
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def refusal(folder, *words):
    """What the program says in this folder before it ends with the exit code of an error."""
    done = subprocess.run([sys.executable, RUNNER, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_a_photo_that_would_be_seen_wrongly_is_refused_by_the_program_in_a_sentence(tmp_path):
    photo = Image.fromarray(load_image(PHOTO)[0][:90, :120])
    photo.save(tmp_path / "photo.jpg")
    whole = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("half.jpg", "empty.jpg"):
        assert f"{name} is cut short, or no picture" in refusal(tmp_path, name, "out.npy")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(tmp_path / "clear.png")
    assert "clear.png has transparent parts" in refusal(tmp_path, "clear.png", "out.npy")
    photo.putalpha(255)
    photo.save(tmp_path / "opaque.png")
    for name in ("photo.jpg", "opaque.png"):  # where the program lies there are no networks
        assert "psi.onnx is not there; run.py needs" in refusal(tmp_path, name, "out.npy")


def test_the_program_beside_the_files_is_short():
    lines = RUNNER.read_text("utf-8").splitlines()
    assert len([line for line in lines if line]) <= 150
    named = [line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))]
    assert set(named) <= {*sys.stdlib_module_names, "cv2", "numpy", "onnxruntime"}


def test_the_program_is_not_beside_what_it_does_not_know(tiny, tmp_path):
    for psi in (tiny.Psi(tiny.SPECS["published"]), tiny.WallPsi(focal_px=77.0, sky_share=0.25)):
        (tmp_path / RUNNER_FILE).write_text("of another model")
        predictor = DepthPredictor(psi, MapRefiner((8, 8, 8, 8, 8, 4)), device="cpu", dtype="float32")
        assert write_runner(predictor, tmp_path) is None and not list(tmp_path.iterdir())


def test_the_networks_are_not_pytorchs(in_onnx):
    assert not list(in_onnx.psi.parameters()) and not list(in_onnx.refiner.parameters())


def test_depth_anything_and_the_refiner_for_any_psi(tiny_config, vivid, tmp_path):
    tiny = vivid(DepthAnything(tiny_config))
    predictor = DepthPredictor(tiny, MapRefiner((8, 8, 8, 8, 8, 4)), name="tiny", device="cpu", dtype="float32")
    assert all(one.difference < PARITY for one in export_onnx(predictor, tmp_path))
    psi, refiner, _ = load_onnx(tmp_path, torch.device("cpu"))
    assert psi.spec == tiny.spec
    image, options = load_image(PHOTO)[0][:300, :400], InferenceOptions(tiles=(2, 3), batch_size=4)
    got = DepthPredictor(psi, refiner, device="cpu", dtype="float32").infer(image, options=options)
    assert difference(predictor.infer(image, options=options).disparity, got.disparity) < PARITY


def test_another_psi_for_the_patches_and_what_only_the_whole_is_asked(tiny, tmp_path):
    fine = tiny.WallPsi(distance_m=2.0)
    predictor = DepthPredictor(
        tiny.WallPsi(focal_px=77.0, sky_share=0.25), MapRefiner((8, 8, 8, 8, 8, 4)),
        fine=fine, name="wall", fine_name="tiny", device="cpu", dtype="float32",
    )  # fmt: skip
    assert [one.path.name for one in export_onnx(predictor, tmp_path)] == [PSI_FILE, FINE_FILE, REFINER_FILE]
    psi, refiner, other = load_onnx(tmp_path, torch.device("cpu"))
    assert (psi.name, psi.fine_name, other.name, other.fine_name) == ("wall", "tiny", "tiny", "")
    got = DepthPredictor(psi, refiner, fine=other, name="wall", fine_name="tiny", device="cpu", dtype="float32")
    image, options = load_image(PHOTO)[0][:300, :400], InferenceOptions(tiles=(2, 3), keep_normals=True)
    wanted, got = (one.infer(image, options=options) for one in (predictor, got))
    assert difference(wanted.disparity, got.disparity) < PARITY and got.model == "wall+tiny"
    assert got.lens_source == "model" and got.intrinsics.fx == pytest.approx(wanted.intrinsics.fx)
    np.testing.assert_array_equal(got.sky, wanted.sky)
    np.testing.assert_allclose(got.normals, wanted.normals, atol=1e-5)


def test_only_what_can_be_exported_is(tiny, tmp_path):
    with pytest.raises(InputError, match="no trained refiner"):
        export_onnx(tiny.predictor(trained=False, device="cpu"), tmp_path)
    with pytest.raises(InputError, match="in float32"):
        export_onnx(tiny.predictor(dtype="bfloat16", device="cpu"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(compact, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="choose another folder"):
        export_onnx(compact, tmp_path / "file")


def test_what_is_no_export_is_refused(exported, tmp_path):
    def load(folder=tmp_path, name="compact", **options):
        return load_model(name, device="cpu", backend="onnxruntime", weights=folder, **options)

    with pytest.raises(WeightsError, match=r"does not exist; make it with: pro-engine export"):
        load()
    (tmp_path / PSI_FILE).write_bytes(b"no model")
    with pytest.raises(WeightsError, match="cannot be read by ONNX Runtime"):
        load()
    model = onnx.load(exported[0] / PSI_FILE)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / PSI_FILE)
    with pytest.raises(WeightsError, match="was not made by this version"):
        load()
    (tmp_path / PSI_FILE).write_bytes((exported[0] / REFINER_FILE).read_bytes())
    with pytest.raises(WeightsError, match="was not made by this version"):
        load()
    with pytest.raises(InputError, match="holds compact, not depth-anything-v2-small"):
        load(exported[0], "depth-anything-v2-small")
    with pytest.raises(InputError, match="needs an export"):
        load(None)
    for wrong in ({"dtype": "float16"}, {"refiner_weights": tmp_path / "x"}, {"fine": "same"}):
        with pytest.raises(InputError, match="leave out dtype, refiner_weights and fine"):
            load(exported[0], **wrong)
    with pytest.raises(InputError, match="give torch or onnxruntime"):
        load_model(backend="tensorflow")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(compact, exported, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=r"pro-engine\[onnx\]"):
        export_onnx(compact, tmp_path)
    if package == "onnxruntime":
        with pytest.raises(DependencyError, match=r"pro-engine\[onnx\]"):
            load_model("compact", device="cpu", backend="onnxruntime", weights=exported[0])


def run(*arguments):
    """What a command prints that is to succeed."""
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_line_exports(tiny, monkeypatch, tmp_path):
    shape = tiny.SPECS["published"]  # of one size: what may have any takes the exporter thrice as long
    monkeypatch.setattr("pro_engine.inference.load.load", lambda *_: tiny.predictor(psi=tiny.Psi(shape), device="cpu"))
    first, second = run("export", "--model", "compact", "--out", tmp_path).splitlines()
    assert first.startswith(str(tmp_path / PSI_FILE)) and second.startswith(str(tmp_path / REFINER_FILE))
    assert first.endswith("of PyTorch's range") and "MB" in first


def test_the_command_line_infers(compact, exported, tmp_path):
    words = ("--model", "compact", "--tiles", "2x2", "--backend", "onnxruntime", "--weights", exported[0])
    run("infer", PHOTO, "--out", tmp_path, *words)
    wanted = compact.infer(load_image(PHOTO)[0], options=InferenceOptions(tiles=(2, 2))).disparity
    assert difference(wanted, load_depth(tmp_path / "drum.disparity.npz")[0]) < PARITY


def test_a_share_of_the_coarse_map_is_anothers_without_pytorch_too(tiny, vivid, tmp_path):
    torch.manual_seed(0)
    whole, fine = (vivid(tiny.Psi(tiny.SPECS["ours"])) for _ in range(2))
    predictor = DepthPredictor(
        whole, MapRefiner((8, 8, 8, 8, 8, 4)), fine=fine, share=0.5, name="a", fine_name="b", device="cpu",
        dtype="float32",
    )  # fmt: skip
    export_onnx(predictor, tmp_path)
    assert write_runner(predictor, tmp_path)
    image = resized(load_image(PHOTO)[0], (200, 310))
    got = without_torch(tmp_path, image, tmp_path)
    assert difference(predictor.infer(image).disparity, got) < PARITY

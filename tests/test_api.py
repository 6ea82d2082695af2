"""The front page of the package is the API: this set of names, no more, and nothing heavy until one is used."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pro_engine

PUBLIC = {
    "CancelledError",
    "Cost",
    "DependencyError",
    "DepthPredictor",
    "DepthResult",
    "DeviceError",
    "FileError",
    "GroundFit",
    "GroundPlane",
    "InferenceOptions",
    "InputError",
    "Intrinsics",
    "LayeredMesh",
    "LoadedPhoto",
    "Mesh",
    "ModelOptions",
    "OptionError",
    "Plate",
    "PointCloud",
    "ProEngineError",
    "ScaleHold",
    "ScaleShift",
    "ScaleUnknownError",
    "VideoPredictor",
    "WeightsError",
    "__version__",
    "colorize",
    "depth_edges",
    "depth_to_cloud",
    "depth_to_layers",
    "depth_to_mesh",
    "depth_to_normals",
    "disparity_to_depth",
    "down_vector",
    "expected_cost",
    "fit_scale_shift",
    "flying_points",
    "ground_plane",
    "ground_scale_shift",
    "infer_panorama",
    "load_depth",
    "load_image",
    "load_model",
    "place_sky",
    "project",
    "range_scale_shift",
    "read_photo",
    "save_cloud",
    "save_depth",
    "save_mesh",
    "save_normals",
    "sphere_to_cloud",
    "sphere_to_mesh",
    "unproject",
}


def modules_after(code: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([m for m in sys.modules if '.' not in m]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_public_names_are_exactly_these() -> None:
    assert set(pro_engine.__all__) == PUBLIC
    assert len(pro_engine.__all__) == len(PUBLIC)
    assert set(dir(pro_engine)) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(pro_engine, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(pro_engine.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        f"{statement.module}:{alias.name}"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == {f"pro_engine.{home}:{name}" for name, home in pro_engine._HOME_OF.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'depth_anything'"):
        pro_engine.depth_anything  # noqa: B018


@pytest.mark.parametrize("code", ["import pro_engine", "import pro_engine; pro_engine.InputError; dir(pro_engine)"])
def test_the_front_page_pulls_in_nothing_heavy(code: str) -> None:
    assert modules_after(code).isdisjoint({"torch", "cv2", "numpy", "PIL", "trimesh", "transformers"})


@pytest.mark.parametrize("name", ["Intrinsics", "unproject", "depth_to_mesh", "colorize", "save_depth", "load_image"])
def test_geometry_and_files_do_without_torch(name: str) -> None:
    assert "torch" not in modules_after(f"from pro_engine import {name}")


def test_every_error_has_the_one_base() -> None:
    errors = {name for name in PUBLIC if name.endswith("Error")}
    assert all(issubclass(getattr(pro_engine, name), pro_engine.ProEngineError) for name in errors)

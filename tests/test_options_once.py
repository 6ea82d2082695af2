"""An option's default, limits and choices stand where it is declared, and nowhere else by hand.

Sources are read, not run, so that what is found can be pointed at. The checks of a host are functions of its name.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pro_engine.cli.flags import FLAGS, NO_FLAG
from pro_engine.cli.main import app
from pro_engine.evaluation.options import EvalOptions
from pro_engine.jobs.options import (
    BenchInference,
    BenchOptions,
    ClusterOptions,
    ExportOptions,
    JobOptions,
    SceneOptions,
)
from pro_engine.jobs.serve import DECIDED, WORDS
from pro_engine.options import GeometryOptions, InferenceOptions, ModelOptions, choices_of, field_of, options_of
from pro_engine.training.options import (
    BaseConfig,
    BundleConfig,
    HeadsConfig,
    OutlinesConfig,
    RefinerConfig,
    ScenesConfig,
)
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.sample import sample
from ros2_pro.settings import home_of, options

ROOT = Path(__file__).resolve().parents[1]
ENGINE_OWNERS = (ModelOptions, InferenceOptions, GeometryOptions)
OF_THE_ENGINE = {one.name for owner in ENGINE_OWNERS for one in options_of(owner)}
Paths = tuple[Path, ...]
MAKERS = ("option", "same_as")

ROS_SOURCES = (*sorted((ROOT / "ros2_pro").rglob("*.py")), *sorted((ROOT / "launch").glob("*.py")))
ROS_OPTIONS = (*(home_of(name) for name, _ in options()), *((DemoSettings, o.name) for o in options_of(DemoSettings)))


def maker_of(node: ast.AST) -> str:
    """`option` or `same_as` for a call of one of the two; '' for anything else."""
    called = node.func if isinstance(node, ast.Call) else None
    return called.id if isinstance(called, ast.Name) and called.id in MAKERS else ""


def hand_written(path: Path) -> Iterator[ast.AST]:
    """Every node of a file but docstrings and what is inside the declaration of an option."""
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        is_field = isinstance(node, ast.AnnAssign) and node.value is not None and maker_of(node.value)
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (is_field or is_docstring):
            yield node
            waiting += ast.iter_child_nodes(node)


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def choices_again(paths: Paths, homes: tuple[tuple[type, str], ...]) -> list[str]:
    """Where a list has all the choices of an option, or a text more than two of them."""
    known = [choices for home in homes if len(choices := choices_of(*home)) > 1]
    assert len(known) > 2
    found = []
    for path in paths:
        for node in hand_written(path):
            if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
                words, least = {item.value for item in node.elts if isinstance(item, ast.Constant)}, 2
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words, least = set(re.findall(r"\w+", node.value)), 3  # two may well meet in a sentence
            else:
                continue
            again = [choices for choices in known if len(choices) >= least and words >= set(choices)]
            found += [f"{place(path, node)}: {', '.join(choices)}" for choices in again]
    return found


def defaults_again(paths: Paths, homes: tuple[tuple[type, str], ...]) -> list[str]:
    """Where the default of an option is written out for an argument or keyword of its name."""
    known = {(name, str(field_of(owner, name).default)) for owner, name in homes}
    found = []
    for path in paths:
        for node in hand_written(path):
            if isinstance(node, ast.arguments):
                positional = node.args[len(node.args) - len(node.defaults) :]
                pairs = zip([*positional, *node.kwonlyargs], [*node.defaults, *node.kw_defaults], strict=True)
                given = [(argument.arg, value) for argument, value in pairs]
            elif isinstance(node, ast.Call):
                given = [(keyword.arg, keyword.value) for keyword in node.keywords]
            else:
                continue
            found += [
                f"{place(path, value)}: {name} = {value.value!r}"
                for name, value in given
                if isinstance(value, ast.Constant) and (name, str(value.value)) in known
            ]
    return found


def declared_by_hand(paths: Paths) -> list[str]:
    """Fields that carry notes without `option`, and options of the engine that are not taken over."""
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found += [f"{place(path, node)}: metadata" for keyword in node.keywords if keyword.arg == "metadata"]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                again = node.target.id in OF_THE_ENGINE and maker_of(node.value) == "option"
                found += [f"{place(path, node)}: {node.target.id}"] * again
    return found


def test_ros_declares_its_options_once() -> None:
    assert len(ROS_OPTIONS) > 50 and len(ROS_SOURCES) > 25
    assert declared_by_hand(ROS_SOURCES) == []


def test_ros_writes_no_choices_again() -> None:
    assert choices_again(ROS_SOURCES, ROS_OPTIONS) == []


def test_ros_writes_no_defaults_again() -> None:
    assert defaults_again(ROS_SOURCES, ROS_OPTIONS) == []


def test_launch_files_hold_no_numbers() -> None:
    found = [
        f"{place(path, node)}: {node.value}"
        for path in ROS_SOURCES
        if path.parent.name == "launch"
        for node in hand_written(path)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    ]
    assert found == []


def test_the_file_of_parameters_is_made_from_the_settings() -> None:
    assert (ROOT / "config/pro.yaml").read_text("utf-8") == sample(), "python -m ros2_pro.sample >config/pro.yaml"


BLENDER_SOURCES = tuple(path for path in sorted((ROOT / "blender_addon").rglob("*.py")) if path.name != "package.py")


def test_the_add_ons_file_of_options_is_what_the_engine_declares() -> None:
    known = (ROOT / "blender_addon/options.json").read_text("utf-8")
    package = runpy.run_path(str(ROOT / "blender_addon/package.py"))  # the add-on is not installed
    assert known == package["engine_options"](ROOT), "python blender_addon/package.py writes it"


def test_the_add_on_declares_its_options_once() -> None:
    declared = tuple(path for path in BLENDER_SOURCES if path.name != "options.py")
    assert len(declared) > 25
    assert declared_by_hand(declared) == []


def test_the_add_on_writes_no_defaults_and_choices_of_the_engine_again() -> None:
    homes = tuple((owner, one.name) for owner in ENGINE_OWNERS for one in options_of(owner))
    assert defaults_again(BLENDER_SOURCES, homes) == []
    assert choices_again(BLENDER_SOURCES, homes) == []


def test_numbers_of_the_panel_come_from_the_options() -> None:
    """A property has its default and limits from `_shown`, which takes what the panel replaces by name."""
    (path,) = (path for path in BLENDER_SOURCES if path.name == "properties.py")
    found = [
        f"{place(path, keyword.value)}: {keyword.arg}"
        for node in hand_written(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Property")
        for keyword in node.keywords
        if keyword.arg in ("default", "min", "max") and isinstance(keyword.value, (ast.Constant, ast.Tuple))
        if not (isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str))
    ]
    assert found == []


ENGINE_SOURCES = tuple(
    path for folder in ("pro_engine", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))
)
ENGINE_HOMES = tuple((owner, one.name) for owner in (*ENGINE_OWNERS, JobOptions) for one in options_of(owner))
DECLARING = ("pro_engine/options.py", "pro_engine/jobs/options.py")
NAMESAKES = {
    "ModelPreset.fine": "what a preset has for its patches; none unless it says so",
    "DepthPredictor.__init__.name": "what the results call the model, whatever it is",
    "DepthResult.dtype": "what the networks of a result computed in",
    "DepthResult.tiles": "the grid of a result",
    "PhotoReport.tiles": "what was taken of a photo",
    "_SameConv.__init__.stride": "of a convolution",
    "check_image.name": "what an error calls the array",
    "as_mask.name": "what an error calls the array",
    "depth_to_cloud.stride": "every pixel, unless a job asks for less",
    "depth_to_layers.stride": "every pixel, unless a job asks for less",
    "main.refine": "a benchmark of the coarse map, unless it is told otherwise",
    "depth_to_mesh.stride": "every pixel, unless a job asks for less",
    "sphere_to_cloud.stride": "every pixel, unless a job asks for less",
    "sphere_to_mesh.stride": "every pixel, unless a job asks for less",
}
"""Parameters and fields of the engine that are called like an option and are something else."""


def literal_defaults(path: Path, names: set[str]) -> Iterator[tuple[str, ast.AST]]:
    """(Class.field or function.parameter, node) where one of the names has a default that is written out."""
    waiting: list[tuple[str, ast.AST]] = [("", ast.parse(path.read_text("utf-8")))]
    while waiting:
        home, node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            home = f"{home}{node.name}."
        given: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            positional = positional[len(positional) - len(node.defaults) :]
            pairs = zip([*positional, *node.kwonlyargs], [*node.defaults, *node.kw_defaults], strict=True)
            given = [(argument.arg, value) for argument, value in pairs]
        elif isinstance(node, ast.ClassDef):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
            given = [(one.target.id, one.value) for one in fields if isinstance(one.target, ast.Name)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            flag = ast.unparse(node.args[0]).strip("'-").replace("-", "_")
            given = [(flag, keyword.value) for keyword in node.keywords if keyword.arg == "default"]
        for name, value in given:
            if name in names and value is not None and is_literal(value):
                yield home + name, value
        waiting += [(home, child) for child in ast.iter_child_nodes(node)]


def is_literal(value: ast.expr) -> bool:
    """Whether a value is written out; None is not one: it says that nothing is given."""
    try:
        return ast.literal_eval(value) is not None
    except ValueError:
        return False


def test_the_engine_gives_no_option_a_second_default() -> None:
    names = {name for _, name in ENGINE_HOMES}
    found = [(home, place(path, node)) for path in ENGINE_SOURCES for home, node in literal_defaults(path, names)]
    assert {home for home, _ in found} >= NAMESAKES.keys(), "a namesake is gone; take it from the list"
    assert [where for home, where in found if home not in NAMESAKES] == []


def test_the_engine_writes_no_choices_again() -> None:
    found = choices_again(ENGINE_SOURCES, ENGINE_HOMES)
    declared = [where for where in found if where.partition(":")[0] in DECLARING]
    assert len(declared) == 9 and found == declared


def test_the_engine_declares_its_options_once() -> None:
    homes = {(owner.__name__, one.name) for owner in (*ENGINE_OWNERS, JobOptions) for one in options_of(owner)}
    found = []
    for path in ENGINE_SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for one in node.body if isinstance(node, ast.ClassDef) else ():
                is_made = isinstance(one, ast.AnnAssign) and one.value is not None and maker_of(one.value) == "option"
                if is_made and one.target.id in OF_THE_ENGINE and (node.name, one.target.id) not in homes:
                    found.append(f"{place(path, one)}: {node.name}.{one.target.id}")
    assert found == []


VERBS: dict[str, tuple[type, ...]] = {
    "infer": (JobOptions, InferenceOptions, ModelOptions, ClusterOptions),
    "scene": (SceneOptions, InferenceOptions, ModelOptions, ClusterOptions),
    "bench": (BenchOptions, BenchInference, ModelOptions),
    "export": (ExportOptions,),
    "eval": (EvalOptions, InferenceOptions, ModelOptions),
    "train scenes": (ScenesConfig,),
    "train base": (BaseConfig,),
    "train heads": (HeadsConfig,),
    "train refiner": (RefinerConfig,),
    "train outlines": (OutlinesConfig,),
    "train bundle": (BundleConfig,),
    "models": (),
    "info": (),
    "serve": (),
}
OF_A_VERB_ALONE = {"photos", "photo", "reconstruction", "model", "data", "out", "no_refine", "as_json", "debug", "help"}


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")
        else:
            yield before + name, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def as_text(value: Any) -> Any:
    """A default as people write it; switches and None stay."""
    if isinstance(value, tuple):
        return ("x" if all(isinstance(item, int) for item in value) and value else ",").join(map(str, value))
    return value if value is None or isinstance(value, bool) else str(value)


def test_every_verb_has_its_options() -> None:
    assert COMMANDS.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_flags_are_made_from_the_options(verb: str) -> None:
    parameters = {one.name: one for one in COMMANDS[verb].params}
    homes = [(owner, one) for owner in VERBS[verb] for one in options_of(owner) if one.name not in NO_FLAG]
    assert parameters.keys() - OF_A_VERB_ALONE <= {one.name for _, one in homes} <= parameters.keys()
    for owner, field in homes:
        flag, metadata = parameters[field.name], field.metadata
        names = FLAGS[field.name].names if field.name in FLAGS else ()
        assert flag.opts == [one.partition("/")[0] for one in names or ("--" + field.name.replace("_", "-"),)]
        assert flag.required == (field.default is dataclasses.MISSING)
        assert flag.help.startswith(metadata["help"])
        for limit in ("minimum", "maximum", "above", "below"):
            assert limit not in metadata or f" {metadata[limit]:g}" in flag.help.rpartition("[")[2].replace("[", " ")
        for choice in choices_of(owner, field.name):
            assert choice in re.split(r"[^\w-]+", f"{flag.metavar} {flag.help}")
        if not flag.required and not flag.multiple:
            assert flag.default == as_text(field.default)


def test_the_words_of_the_command_line_are_in_use() -> None:
    known = {one.name for owners in VERBS.values() for owner in owners for one in options_of(owner)}
    assert FLAGS.keys() | NO_FLAG <= known


SERVER = ROOT / "pro_engine/jobs/serve.py"


def test_the_server_makes_its_keys_from_the_options() -> None:
    """Of names, choices, defaults and limits it writes only those in its table of words, and numbers below 3."""
    homes = [(owner, one) for owner in (ModelOptions, InferenceOptions, JobOptions) for one in options_of(owner)]
    words = {one.name for _, one in homes} | {choice for owner, one in homes for choice in choices_of(owner, one.name)}
    limits = {one.metadata.get(limit) for _, one in homes for limit in ("minimum", "maximum", "above", "below")}
    defaults = {one.default for _, one in homes if isinstance(one.default, (str, int, float))}
    known = (words | limits | defaults) - {None}
    assert {"tiles", "bfloat16", "hybrid", 32, 0.04} <= known
    written = {node.value for node in hand_written(SERVER) if isinstance(node, ast.Constant)}
    assert {one for one in written & known if isinstance(one, str) or one > 2} == {*WORDS, *DECIDED}

"""`pip install .` lands everything that ROS looks for; the files that ship agree with the code."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

import pytest
from domain import own_domain
from installed import FILES, NEVER, PROGRAMS

import pro_engine
from ros2_pro.sample import sample
from ros2_pro.settings import Settings, from_values, options

ROOT = Path(__file__).parents[2]
PACKED = (
    "LICENSE", "README.md", "config", "launch", "package.xml", "pro_engine", "pyproject.toml", "resource", "ros2_pro",
    "rviz", "scripts", "setup.cfg", "setup.py",
)  # fmt: skip


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the project installed by pip, which sees the packages of the present one."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    for name in (*PACKED, *NEVER):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    site = _output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    (Path(site) / "present.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", str(source)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    return venv


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "path",
    [
        *FILES,
        *(f"lib/ros2_pro/{name}" for name in PROGRAMS),
        *(f"bin/{name}" for name in ("pro-engine", *PROGRAMS)),
    ],
)
def test_pip_lands_the_file(venv: Path, path: str) -> None:
    assert (venv / path).is_file()


def test_programs_are_executable(venv: Path) -> None:
    assert all(os.access(venv / "lib/ros2_pro" / name, os.X_OK) for name in PROGRAMS)


def test_only_the_packages_are_installed(venv: Path) -> None:
    (record,) = venv.glob("lib/python*/site-packages/pro_engine-*.dist-info/RECORD")
    paths = [line.split(",")[0] for line in record.read_text("utf-8").splitlines()]
    assert {path.split("/")[0] for path in paths if not path.startswith("..")} == {
        "pro_engine",
        "ros2_pro",
        record.parent.name,
    }
    assert "pro_engine/weights/compact.safetensors" in paths
    assert not [path for path in paths if set(Path(path).parts) & set(NEVER)]


def test_metadata_is_that_of_before(venv: Path) -> None:
    (path,) = venv.glob("lib/python*/site-packages/pro_engine-*.dist-info")
    found = metadata.Distribution.at(path)
    assert found.version == pro_engine.__version__
    assert found.metadata["Requires-Python"] == ">=3.10"
    assert found.metadata["License"] == "Apache-2.0"
    assert "torch>=2.4" in (found.requires or [])
    extras = set(found.metadata.get_all("Provides-Extra"))
    assert {"dev", "heif", "hub", "ros", "train"} <= extras
    assert (path / "licenses/LICENSE").is_file()


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        ("demo_camera", ["-p", "source:=nowhere.jpg"], "nowhere.jpg"),
        ("pro_node", ["-p", "engine.refine:=twice"], "twice"),
    ],
)
def test_a_program_runs_and_refuses_in_one_sentence(venv: Path, program: str, arguments: list[str], words: str) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")
    command = [str(venv / "bin/python"), str(venv / "lib/ros2_pro" / program), "--ros-args", *arguments]
    env = {**os.environ, "ROS_DOMAIN_ID": str(own_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=env, cwd=venv)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_the_engine_needs_no_ros() -> None:
    script = """
import sys
class NoRos:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("rclpy", "ament_index_python", "sensor_msgs", "std_msgs", "ros2_pro"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoRos())
import pro_engine
for name in pro_engine.__all__:
    getattr(pro_engine, name)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_manifest_of_ros_agrees_with_the_code() -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("name") == "ros2_pro"
    assert manifest.findtext("version") == pro_engine.__version__
    assert manifest.findtext("export/build_type") == "ament_python"
    listed = [element.text for element in manifest.iter("exec_depend")]
    named = set(listed)
    assert len(listed) == len(named) and {"rviz2", "tf2_ros_py"} <= named
    imported = {
        name.partition(".")[0]
        for folder, pattern in (("ros2_pro", "*.py"), ("launch", "*.launch.py"))
        for path in (ROOT / folder).rglob(pattern)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in imported_names(node)
    }
    optional = {"bondpy", "cv_bridge"}  # used where they are there; not every distribution has them
    imported = {"tf2_ros_py" if name == "tf2_ros" else name for name in imported}  # the package of that module
    imported -= {*sys.stdlib_module_names, *optional, "numpy", "cv2", "yaml", "pro_engine", "ros2_pro"}
    assert {"rclpy", "sensor_msgs", "launch_ros"} <= imported  # the reading above finds something
    assert imported <= named


def imported_names(node: ast.AST) -> list[str]:
    """Modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_the_sample_parameters_are_made_from_the_settings() -> None:
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "config/pro.yaml").read_text("utf-8")
    assert text == sample(), "run `python -m ros2_pro.sample >config/pro.yaml`"
    flat: dict[str, object] = {}
    for name, value in yaml.safe_load(text)["/**"]["ros__parameters"].items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": item for inner, item in value.items()})
        else:
            flat[name] = value
    assert set(flat) == {name for name, _ in options()}
    assert all(type(flat[name]) is type(_plain(option.default)) for name, option in options())
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()}
    assert from_values(given) == Settings()


def _plain(default: object) -> object:
    return list(default) if isinstance(default, tuple) else default


def test_the_profile_of_fast_dds() -> None:
    root = ET.parse(ROOT / "config/fastdds_64mb.xml").getroot()
    space = {"": "http://www.eprosima.com"}
    kinds = {
        element.findtext("transport_id", "", space): element.findtext("type", "", space)
        for element in root.iterfind(".//transport_descriptor", space)
    }
    participant = root.find(".//participant", space)
    assert participant is not None
    used = [element.text for element in participant.iterfind(".//userTransports/transport_id", space)]
    assert [kinds[name or ""] for name in used] == ["SHM", "UDPv4"]
    assert participant.get("is_default_profile") == "true"
    assert participant.findtext(".//useBuiltinTransports", "", space) == "false"
    assert int(root.findtext(".//segment_size", "", space)) == 64 * 2**20

"""colcon builds and installs the root of the project as a ROS package, by copies and by links.

Runs where colcon is installed: in continuous integration in an environment of its own, without ROS and the engine's
packages. So nothing here may need them, nor the fixtures beside this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # where no fixtures are loaded
from installed import FILES, NEVER, PROGRAMS

ROOT = Path(__file__).parents[2]
COLCON = Path(sys.executable).with_name("colcon")
BUILT_ELSEWHERE = shutil.ignore_patterns("build", "install", "log", ".*", "__pycache__", "*.egg-info", "out")

pytestmark = pytest.mark.skipif(not COLCON.is_file(), reason="colcon is not installed in this environment")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of the project."""
    return Path(shutil.copytree(ROOT, tmp_path / "workspace", ignore=BUILT_ELSEWHERE))


def build(workspace: Path, *options: str) -> str:
    """Build as a user does; gives all that was said."""
    done = subprocess.run(
        [str(COLCON), "build", *options, "--event-handlers", "console_direct+"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def outcome(workspace: Path) -> tuple[int, int]:
    """Test as a user does; how many tests there were, and how many failed or could not run."""
    subprocess.run([str(COLCON), "test"], cwd=workspace, capture_output=True)
    (suite,) = ET.parse(workspace / "build/ros2_pro/pytest.xml").getroot().iter("testsuite")
    return int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))


def sourced(workspace: Path, command: str) -> str:
    """The output of a command after `. install/setup.sh`, away from the project's folder."""
    script = f". {workspace}/install/setup.sh && {command}"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        ["sh", "-c", script], check=True, capture_output=True, text=True, cwd=workspace.parent, env=env
    ).stdout.strip()


def check(workspace: Path, packages_in: str) -> None:
    """The files are where ROS looks for them, and Python finds the packages below the folder `packages_in`."""
    prefix = workspace / "install/ros2_pro"
    for path in FILES:
        assert (prefix / path).is_file(), path
    for name in PROGRAMS:
        assert os.access(prefix / "lib/ros2_pro" / name, os.X_OK), name
    assert str(prefix) in sourced(workspace, "echo $AMENT_PREFIX_PATH")
    ask = (
        "import pathlib, pro_engine, ros2_pro, importlib.metadata as m;"
        "weights = pathlib.Path(pro_engine.__file__).with_name('weights') / 'compact.safetensors';"
        "print(ros2_pro.__file__, m.version('pro-engine'), weights.is_file())"
    )
    where, version, weights = sourced(workspace, f'{sys.executable} -c "{ask}"').split()
    assert where.startswith(str(workspace / packages_in))
    assert f'__version__ = "{version}"' in (workspace / "pro_engine/__init__.py").read_text("utf-8")
    assert weights == "True"
    for name in NEVER:
        assert not list(prefix.rglob(name)), name


def test_a_build_by_copies(workspace: Path) -> None:
    assert "implicitly" not in build(workspace)
    check(workspace, "install")


def test_a_build_by_links_follows_the_sources(workspace: Path) -> None:
    assert "implicitly" not in build(workspace, "--symlink-install")
    check(workspace, "build")
    installed = workspace / "install/ros2_pro/share/ros2_pro/config/pro.yaml"
    (workspace / "config/pro.yaml").write_text("changed", encoding="utf-8")
    assert installed.read_text("utf-8") == "changed"


def test_colcon_test_runs_the_tests_of_the_ros_package_and_says_what_fails(workspace: Path) -> None:
    build(workspace)
    count, failed = outcome(workspace)
    assert count >= 10 and failed == 0
    with (workspace / "tests/ros2/test_health.py").open("a") as file:
        file.write("\n\ndef test_broken():\n    raise AssertionError\n")
    assert outcome(workspace) == (count + 1, 1)


def test_one_way_of_building_follows_the_other(workspace: Path) -> None:
    for options in ((), ("--symlink-install",), ("--symlink-install",), ()):
        build(workspace, *options)
    check(workspace, "install")

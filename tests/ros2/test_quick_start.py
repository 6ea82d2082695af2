"""The commands of "Five minutes" in docs/ros2.md, on a layout as distributions have it: a Python that refuses pip,
packages of ROS on PYTHONPATH, and what those need beside that Python.

The packages of ROS are those of this environment, by links; what pip would fetch is, too. Building is for test_colcon.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from domain import own_domain

pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")

ROOT = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")
FETCHED = ("numpy", "opencv-python-headless", "setuptools")
OF_DISTRIBUTION = ("typing-extensions",)  # packages beside the Python of a distribution that has ROS
ASKED = """
import importlib.util, sys, sysconfig, os
print(os.path.isfile(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")),
      all(importlib.util.find_spec(name) for name in ("ensurepip", "venv", "yaml")), *sys.version_info[:2])
"""


def is_distributions() -> bool:
    """Whether the Python of this machine is one that refuses pip, and fits the packages of ROS at hand."""
    if not PYTHON.is_file():
        return False
    said = subprocess.run([PYTHON, "-c", ASKED], capture_output=True, text=True, cwd="/").stdout.split()
    return said == ["True", "True", *map(str, sys.version_info[:2])]


pytestmark = pytest.mark.skipif(not is_distributions(), reason="no Python of a distribution that is managed externally")


def top_level(*names: str) -> set[Path]:
    """What distributions of this environment install side by side in its site-packages."""
    found = set()
    for name in names:
        for file in metadata.distribution(name).files or ():
            if not file.parts[0].startswith(".."):
                found.add(Path(str(metadata.distribution(name).locate_file(file.parts[0]))))
    return found


def linked(folder: Path, paths: set[Path]) -> Path:
    folder.mkdir(parents=True)
    for path in paths:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """opt/ros/test with a setup.bash, and `fetched` with what pip would fetch."""
    ros = {d.name for d in metadata.distributions() if d.name.startswith("ros-") and "bootstrapper" not in d.name}
    packages = linked(tmp_path / "opt/ros/test/lib/python", top_level(*ros, *OF_DISTRIBUTION))
    linked(tmp_path / "fetched", top_level(*FETCHED))
    setup = {
        "PYTHONPATH": packages,
        "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
        "AMENT_PREFIX_PATH": sys.prefix,
    }
    lines = (f"export {name}={value}\n" for name, value in setup.items())
    (tmp_path / "opt/ros/test/setup.bash").write_text("".join(lines), "utf-8")
    return tmp_path


def commands() -> list[str]:
    """The page's commands, except the one that fetches PyTorch from its own index."""
    page = (ROOT / "docs/ros2.md").read_text("utf-8")
    (block,) = re.findall(r"<!-- test: quick start -->\n```bash\n(.*?)```", page, re.DOTALL)
    lines = [line.split("  #")[0].strip() for line in block.strip().splitlines()]
    return [line for line in lines if "--index-url" not in line]


def run(layout: Path, lines: list[str]) -> subprocess.CompletedProcess[str]:
    env = {
        "HOME": str(layout),
        "PATH": "/usr/bin:/bin",
        "ROS_DISTRO": "test",
        "ROS_DOMAIN_ID": str(own_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # pip reads it the other way round: no isolation
    }
    script = "\n".join(["set -e", *lines])
    return subprocess.run(["/bin/bash", "-c", script], cwd=layout, env=env, capture_output=True, text=True)


def test_the_commands_of_the_page_give_a_node_that_starts(layout: Path) -> None:
    source = layout / "src/ros2_pro"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns("build", "install", "log", ".*", "__pycache__", "*.egg-info", "out")
    )
    lines = [line.replace("/opt/ros", f"{layout}/opt/ros") for line in commands()]
    refused = run(layout, [lines[0], "python3 -m pip install ./src/ros2_pro"])
    assert "externally-managed-environment" in refused.stderr, "this layout is not that of a distribution"

    cloned, made, activated, installed = (
        next(i for i, line in enumerate(lines) if word in line)
        for word in ("git clone", "-m venv", "bin/activate", "pip install")
    )
    assert cloned < made < activated < installed
    site = f"venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    fetch = f"echo {layout}/fetched > {site}/fetched.pth"
    done = run(layout, [lines[0], lines[made], fetch, *lines[activated : installed + 1]])
    assert done.returncode == 0, done.stderr

    bad = f"{layout}/venv/lib/ros2_pro/pro_node --ros-args -p points.stride:=0"
    started = run(layout, [lines[0], lines[activated], f"python {bad}"])
    assert started.returncode == 2 and "points.stride" in started.stderr, started.stderr
    assert len(started.stderr.strip().splitlines()) == 1, started.stderr
    launch = "import ros2_pro.arguments, ros2_pro.settings, pro_engine.options, sys; print('numpy' in sys.modules)"
    light = run(layout, [lines[0], f'PYTHONPATH=$PYTHONPATH:{site} /usr/bin/python3 -c "{launch}"'])
    assert light.stdout.strip() == "False", f"launch files run in the interpreter of ros2: {light.stderr}"


def test_a_plain_virtual_environment_would_not_do(layout: Path) -> None:
    """Which is why the page makes one that sees the system's packages."""
    lines = [
        f"source {layout}/opt/ros/test/setup.bash",
        "python3 -m venv venv",
        "venv/bin/python -c 'import rclpy.node'",
    ]
    assert "No module named 'yaml'" in run(layout, lines).stderr

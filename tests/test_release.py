"""A release can be taken: wheel and source distribution build, pass twine's check, and the wheel runs by itself.

The network is not used: what the project depends on is that of this environment, without the project itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import cv2
import pytest

import pro_engine

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns("build", "dist", "install", "log", ".*", "__pycache__", "*.egg-info", "out", "venv")
VERSION = pro_engine.__version__


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page "How to release" builds: the wheel is made from the source distribution, not from the tree."""
    folder = tmp_path_factory.mktemp("release")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    # Not isolated, as that would fetch setuptools; that of this environment may be older than pyproject.toml asks.
    run(sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", "--outdir", folder / "dist", source,
        folder=folder)  # fmt: skip
    run(sys.executable, source / "blender_addon/package.py", "--output", folder / "dist", folder=folder)
    return folder / "dist"


def test_the_files_of_a_release(dist: Path) -> None:
    assert sorted(path.name for path in dist.iterdir()) == [
        "index.json",
        f"pro_depth-{VERSION}.zip",
        f"pro_engine-{VERSION}-py3-none-any.whl",
        f"pro_engine-{VERSION}.tar.gz",
    ]
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.glob("pro_engine-*"), folder=dist)


def test_the_source_distribution_has_no_part_of_the_tests(dist: Path) -> None:
    with tarfile.open(dist / f"pro_engine-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CITATION.cff", "CHANGELOG.md", "package.xml", "launch/pro.launch.py"} <= names
    assert not [name for name in names if name.startswith(("tests", "blender_addon"))]


def test_the_wheel_runs_outside_the_tree(dist: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, folder=tmp_path)
    python = venv / "bin/python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path).strip())
    (site / "present.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
        "--ignore-installed", wheel, folder=tmp_path)  # fmt: skip
    where = run(python, "-c", "import pro_engine; print(pro_engine.__file__)", folder=tmp_path)
    assert Path(where.strip()) == site / "pro_engine/__init__.py"

    large = cv2.imread(str(ROOT / "docs/photos/dandelion.jpg"))
    assert large is not None
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.resize(large, (480, 270), interpolation=cv2.INTER_AREA))
    run(venv / "bin/pro-engine", "infer", "photo.jpg", "-o", "out", folder=tmp_path)
    disparity, _ = pro_engine.load_depth(tmp_path / "out/photo.disparity.npz")
    assert disparity.shape == (270, 480)


def test_every_file_has_the_same_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [VERSION]
    released = re.findall(r"^## \[([\d.]+)\] - ([\d-]+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert released[0] == (VERSION, *re.findall(r'^date-released: "(.+)"$', citation, re.MULTILINE))

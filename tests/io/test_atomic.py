"""A crash, a full disk or a kill leaves the old file or the new one, and nothing else in the folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pro_engine.errors import FileError
from pro_engine.io import atomic, depth_formats
from pro_engine.io import mesh as mesh_module
from pro_engine.io.atomic import atomic_path
from pro_engine.io.cloud import CLOUD_SUFFIXES, save_cloud
from pro_engine.io.depth import DEPTH_SUFFIXES, load_depth, save_depth
from pro_engine.io.image import load_image, save_image
from pro_engine.io.mesh import MESH_SUFFIXES, save_mesh
from pro_engine.types import Mesh, PointCloud


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_file_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "map.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["map.png"]


@pytest.mark.parametrize(
    "crash", [RuntimeError("decoder"), KeyboardInterrupt(), OSError(28, "No space left on device")]
)
def test_failure_keeps_the_old_file(tmp_path: Path, crash: BaseException) -> None:
    target = tmp_path / "map.npy"
    target.write_bytes(b"old")
    expected = FileError if isinstance(crash, OSError) else type(crash)
    with pytest.raises(expected), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half of the ne")
        raise crash
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["map.npy"]


def test_full_disk_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(FileError, match=r"map\.npy cannot be written: the disk is full; free"),
        atomic_path(tmp_path / "map.npy"),
    ):
        raise OSError(28, "No space left on device")


def test_why_the_system_takes_no_more_is_told(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        for suffix in (".npy", ".npz"):
            with pytest.raises(FileError, match=r"does not take files this large"):
                save_depth(tmp_path / f"map{suffix}", np.ones((100, 100), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_missing_folders_are_created(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "b" / "c.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "map.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize("suffix", sorted(depth_formats.WRITERS))
def test_crash_in_a_depth_writer(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / f"map{suffix}"
    old = np.full((3, 4), 2, np.float32)
    save_depth(target, old, metadata={"which": "old"})
    before = names(tmp_path)
    writer = depth_formats.WRITERS[suffix]

    def crash(path: Path, *rest: object) -> None:
        writer(path, *rest)  # type: ignore[arg-type]
        raise RuntimeError("crash before the new file takes its place")

    monkeypatch.setitem(depth_formats.WRITERS, suffix, crash)
    with pytest.raises(RuntimeError, match="crash"):
        save_depth(target, old + 1, quantity="disparity", metadata={"which": "new"})
    values, info = load_depth(target)
    assert np.allclose(values, old, atol=1e-3)
    if suffix == ".pfm":  # the file beside it tells of the map that did not come
        assert (info.quantity, info.metadata) == ("unknown", {})
    else:
        assert (info.quantity, info.metadata) == ("depth", {"which": "old"})
    assert names(tmp_path) == before


def test_crash_in_a_set_of_files_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32)
    texture = np.zeros((2, 2, 3), np.uint8)
    mesh = Mesh(corners, np.array([[0, 2, 1]], np.int32), np.zeros((3, 2), np.float32), texture)
    save_mesh(tmp_path / "m.obj", mesh)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert list(before) == ["m.mtl", "m.obj", "m_texture.jpg"]

    def crash(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mesh_module, "open", crash, raising=False)
    with pytest.raises(FileError, match="disk is full"):
        save_mesh(tmp_path / "m.obj", Mesh(corners * 2, mesh.faces, mesh.uv, texture + 200))
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


KILLED_WRITER = """
import sys
import numpy as np
from pro_engine.io.image import save_image
from pro_engine.io.depth import save_depth
folder = sys.argv[1]
print("ready", flush=True)
while True:
    for value in (50, 200):
        save_image(folder + "/photo.png", np.full((300, 400, 3), value, np.uint8))
        save_depth(folder + "/map.exr", np.full((300, 400), value, np.float32))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("wait_s", [0.011, 0.037, 0.083])
def test_kill_in_the_middle_leaves_a_whole_file(tmp_path: Path, wait_s: float) -> None:
    save_image(tmp_path / "photo.png", np.full((300, 400, 3), 50, np.uint8))
    save_depth(tmp_path / "map.exr", np.full((300, 400), 50, np.float32))
    with subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(wait_s)
        process.kill()
    image, _ = load_image(tmp_path / "photo.png")
    values, info = load_depth(tmp_path / "map.exr")
    assert image.shape == (300, 400, 3)
    assert np.unique(image).tolist() in ([50], [200])
    assert np.unique(values).tolist() in ([50], [200])
    assert info.unit == "m"


def part_of(process: int | str, machine: str = "") -> str:
    return f".{machine or atomic._machine()}-{process}-{'0' * 16}.part.png"


@pytest.mark.skipif(os.name != "posix", reason="processes are not asked for elsewhere")
def test_what_killed_processes_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    hours = {
        part_of(ended.pid): 2,
        f".{'a' * 16}.part": 25,
        part_of(1, "00000000"): 25,
        part_of(10**9): 2,
        # what stays: young, of a process that lives, of another machine, or no file of ours
        part_of(ended.pid).replace("part", "part.x", 1): 99,
        part_of(ended.pid).replace("00", "01", 1): 0.5,
        part_of(os.getpid()): 99,
        part_of(ended.pid, "00000000"): 2,
        f".{'b' * 16}.part": 2,
        ".photo.part.png": 99,
        "a.png": 99,
    }
    for name, age in hours.items():
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - 3600 * age,) * 2)
    (tmp_path / part_of(2)).mkdir()
    with atomic_path(tmp_path / "new.txt") as temporary:
        temporary.write_text("x")
    assert set(names(tmp_path)) == {*list(hours)[4:], part_of(2), "new.txt"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """disk(options) -> the folder of a disk in memory, as `mount -o` takes them."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / str(len(mounted))
        folder.mkdir()
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("only root may mount a disk")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("options", "sentence"), [("ro", "the disk is read-only"), ("size=16k", "the disk is full")])
def test_a_disk_that_takes_nothing_is_told(disk: Callable[[str], Path], options: str, sentence: str) -> None:
    folder, points = disk(options), np.random.default_rng(0).random((10_002, 3), np.float32)
    mesh = Mesh(points, np.arange(len(points), dtype=np.int32).reshape(-1, 3), points[:, :2], np.uint8(points[None]))
    writers: list[tuple[frozenset[str], Callable[[Path], None]]] = [
        (DEPTH_SUFFIXES, lambda path: save_depth(path, points)),
        (MESH_SUFFIXES, lambda path: save_mesh(path, mesh)),
        (CLOUD_SUFFIXES, lambda path: save_cloud(path, PointCloud(points))),
        (frozenset({".png"}), lambda path: save_image(path, np.uint8(points[None] * 255))),
    ]
    for suffixes, write in writers:
        for suffix in sorted(suffixes):
            with pytest.raises(FileError) as told:
                write(folder / f"x{suffix}")
            assert re.fullmatch(rf".*/\w+\.\w+(\.json)? cannot be written: {sentence}; .*\.", str(told.value))
            assert names(folder) == []

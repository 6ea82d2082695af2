"""A crash, a full disk or a kill leaves the old file or the new one, and nothing else in the folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pro_engine.errors import FileError
from pro_engine.io import depth_formats
from pro_engine.io import mesh as mesh_module
from pro_engine.io.atomic import atomic_path
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.image import load_image, save_image
from pro_engine.io.mesh import save_mesh
from pro_engine.types import Mesh


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

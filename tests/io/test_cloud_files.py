"""Point clouds read back: positions, colours, order, frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from pro_engine.io.cloud import save_cloud
from pro_engine.types import PointCloud

METADATA = {"far_m": 20.0, "text": "ü\nnew line"}


def cloud_of(count: int, *, coloured: bool = True) -> PointCloud:
    random = np.random.default_rng(count)
    xyz = random.normal(size=(count, 3)).astype(np.float32)
    return PointCloud(xyz, random.integers(0, 256, (count, 3), dtype=np.uint8) if coloured else None)


def read_pcd(path: Path) -> tuple[dict[str, list[str]], np.ndarray[Any, Any]]:
    """Header fields and rows of a binary PCD whose fields are all four bytes."""
    head, _, body = path.read_bytes().partition(b"DATA binary\n")
    lines = [line.split() for line in head.decode("ascii").splitlines() if not line.startswith("#")]
    fields = {line[0]: line[1:] for line in lines}
    assert set(fields["SIZE"]) == {"4"}
    return fields, np.frombuffer(body, dtype="<f4").reshape(int(fields["POINTS"][0]), len(fields["FIELDS"]))


@pytest.mark.parametrize("count", [1, 2, 35])
@pytest.mark.parametrize("coloured", [True, False])
def test_ply(tmp_path: Path, count: int, coloured: bool) -> None:
    cloud = cloud_of(count, coloured=coloured)
    save_cloud(tmp_path / "c.ply", cloud, metadata=METADATA)
    found = trimesh.load(tmp_path / "c.ply", process=False)
    assert isinstance(found, trimesh.PointCloud)
    assert np.array_equal(found.vertices.astype(np.float32), cloud.xyz)
    if cloud.rgb is not None:
        assert np.array_equal(found.colors[:, :3], cloud.rgb)
    data = (tmp_path / "c.ply").read_bytes()
    assert (b"property uchar red" in data) == coloured
    assert b"comment camera frame: x right, y down, z forward; metres\n" in data
    assert f"comment pro_engine {json.dumps(METADATA)}\n".encode() in data


@pytest.mark.parametrize("count", [1, 2, 35])
@pytest.mark.parametrize("coloured", [True, False])
def test_pcd(tmp_path: Path, count: int, coloured: bool) -> None:
    cloud = cloud_of(count, coloured=coloured)
    save_cloud(tmp_path / "c.pcd", cloud, metadata=METADATA)
    fields, rows = read_pcd(tmp_path / "c.pcd")
    assert fields["FIELDS"] == ["x", "y", "z", "rgb"][: 4 if coloured else 3]
    assert (fields["WIDTH"], fields["HEIGHT"]) == ([str(count)], ["1"])
    assert np.array_equal(rows[:, :3], cloud.xyz)
    if cloud.rgb is not None:
        packed = np.ascontiguousarray(rows[:, 3]).view("<u4")
        assert np.array_equal(np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1), cloud.rgb)

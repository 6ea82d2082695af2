"""The recipes of the page on photogrammetry, word for word, on a small scene; what comes after each reads its files.

The depth is known instead of inferred, as a network sees little in pictures that small. Of the other programs COLMAP is
there as pycolmap; what the training of graphdeco's code and nerfstudio's read is looked for as they do it.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_scene import VIEWS, K, KnownDepth, write_scene
from typer.testing import CliRunner

from pro_engine.cli.main import app
from pro_engine.io.reconstruction import load_reconstruction
from pro_engine.io.scene_files import nerfstudio_frame

pycolmap = pytest.importorskip("pycolmap")

PAGE = Path(__file__).parents[2] / "docs/photogrammetry.md"
_SECTION = PAGE.read_text(encoding="utf-8").partition("\n## Recipes\n")[2].partition("\n## ")[0]
RECIPES = [block.strip().splitlines() for block in re.findall(r"```bash\n(.*?)```", _SECTION, re.DOTALL)]


def colmap(given: list[str]) -> None:
    """`stereo_fusion` with the flags of the page."""
    assert given[0] == "stereo_fusion"
    flags = dict(zip(given[1::2], given[2::2], strict=True))
    options = pycolmap.StereoFusionOptions()
    options.min_num_pixels, options.max_depth_error = 2, 0.03  # a small scene
    fused = pycolmap.stereo_fusion(
        flags["--output_path"], flags["--workspace_path"], output_type="PLY", options=options
    )
    assert len(fused.points3D) > 500 and Path(flags["--output_path"]).is_file()


def graphdeco(given: list[str]) -> None:
    """A scene of COLMAP, and for each of its pictures one of inverse depth with its scale."""
    assert given[0] == "train.py"
    flags = dict(zip(given[1::2], given[2::2], strict=True))
    source = Path(flags["-s"])
    scales = json.loads((source / "sparse/0/depth_params.json").read_text())
    images = pycolmap.Reconstruction(str(source / "sparse/0")).images.values()
    assert len(images) == VIEWS
    for image in images:
        assert (source / "images" / image.name).is_file()
        stem = Path(image.name).with_suffix("").as_posix()
        assert set(scales[stem]) >= {"scale", "offset"}
        with Image.open(source / flags["-d"] / f"{stem}.png") as depth:
            assert np.asarray(depth).dtype == np.uint16


def nerfstudio(given: list[str]) -> None:
    """Frames with pictures and depth, in a folder with transforms.json."""
    assert given[0] == "depth-nerfacto"
    data = Path(given[given.index("--data") + 1])
    found = json.loads((data / "transforms.json").read_text())
    assert len(found["frames"]) == VIEWS and found["depth_unit_scale_factor"] == 0.001
    for frame in found["frames"]:
        assert (data / frame["file_path"]).is_file() and (data / frame["depth_file_path"]).is_file()
        assert np.linalg.det(np.array(frame["transform_matrix"])[:3, :3]) == pytest.approx(1)


READERS = {"colmap": colmap, "python": graphdeco, "ns-train": nerfstudio}


def test_the_page_has_three_recipes():
    assert [[line.split()[0] for line in lines] for lines in RECIPES] == [["pro-engine", reader] for reader in READERS]


@pytest.mark.parametrize("lines", RECIPES, ids=READERS)
def test_a_recipe_does_what_the_page_says(lines, tmp_path, monkeypatch):
    write_scene(tmp_path / "project")
    source = load_reconstruction(tmp_path / "project/sparse/0")
    open_to_all = np.flatnonzero(np.bincount(np.concatenate([view.points for view in source.views])) == VIEWS)
    cloud = trimesh.PointCloud(source.xyz[open_to_all], colors=source.rgb[open_to_all])  # nerfstudio has no tracks
    cloud.export(tmp_path / "project/points.ply")
    frames = [nerfstudio_frame(view, K, f"images/{view.name}", "") for view in source.views]
    text = {"camera_model": "OPENCV", "ply_file_path": "points.ply", "frames": frames}
    (tmp_path / "project/transforms.json").write_text(json.dumps(text))
    monkeypatch.setattr("pro_engine.inference.load.load", lambda _model: KnownDepth())
    monkeypatch.chdir(tmp_path)
    for line in lines:
        program, *given = shlex.split(line)
        if program == "pro-engine":
            done = CliRunner().invoke(app, given)
            assert done.exit_code == 0, done.output
        else:
            READERS[program](given)

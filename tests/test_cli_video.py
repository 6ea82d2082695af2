"""`pro-engine infer` of videos, with tiny networks in place of the models."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")

from command_line import names, runner, write_photo
from videos import write_video

from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.video import open_video


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(*arguments) -> the finished command; the model is tiny and the working folder is empty."""
    return runner(tiny, monkeypatch, tmp_path)


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """Five frames."""
    return write_video(tmp_path / "in" / "shot.mov", 5)


def disparity(name: str) -> np.ndarray:
    return load_depth(Path("out") / name)[0]


def test_every_frame_has_its_maps_on_one_scale_and_the_video_a_preview(run, shot):
    done = run("infer", shot, "-o", "out", "--near", 1, "--far", 9, "--maps", "npz,exr", "--preview", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    stems = [f"shot.{number:04d}" for number in range(1, 6)]
    maps = {f"{stem}.{kind}.{suffix}" for stem in stems for kind in ("disparity", "depth") for suffix in ("npz", "exr")}
    about = {f"{stem}.made.json" for stem in stems} | {"intrinsics.json"}
    assert names(Path("out")) == maps | about | {"shot.preview.mp4"}
    assert [(one["frame"], one["input"]) for one in told["results"]] == [(n, str(shot)) for n in range(1, 6)]
    assert [one["time_s"] for one in told["results"]] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-3)
    assert {Path(out["path"]).name for one in told["results"] for out in one["outputs"]} == maps
    assert len({(one["scale"]["scale"], one["scale"]["shift"]) for one in told["results"]}) == 1
    (video,) = told["videos"]
    assert video["frames"] == 5 and [Path(out["path"]).name for out in video["outputs"]] == ["shot.preview.mp4"]
    about = load_depth("out/shot.0003.disparity.npz")[1].metadata
    assert (about["photo"], about["frame"]) == ("shot.mov", 3)
    assert set(json.loads(Path("out/intrinsics.json").read_text())["photos"]) == set(stems)
    with open_video("out/shot.preview.mp4") as preview:
        pictures = [one.image() for one in preview]
    assert len(pictures) == 5 and pictures[0].shape[1] > 2 * 320
    assert done.stderr == ""


def test_meshes_of_frames(run, shot):
    done = run("infer", shot, "-o", "out", "--mesh", "glb", "--max-pixels", 10000)
    assert done.exit_code == 0
    assert {f"shot.{number:04d}.mesh.glb" for number in range(1, 6)} <= names(Path("out"))
    assert done.stderr.count("The scale is unknown") == 1  # not once for each frame
    assert "frame 5: 115x86" in done.stdout and "shot.mov: 5 frames" in done.stdout


def test_frames_that_are_there_are_skipped_and_the_scale_goes_on(run, shot, monkeypatch):
    command = ("infer", shot, "-o", "out", "--near", 1, "--far", 9, "--json", "--preview")
    assert run(*command).exit_code == 0
    whole = [load_depth(f"out/shot.{number:04d}.depth.npz")[0] for number in range(1, 6)]
    for number in (3, 4, 5):
        Path(f"out/shot.{number:04d}.depth.npz").unlink()
    Path("out/shot.preview.mp4").unlink()
    done = run(*command, "--existing", "skip")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert [one["skipped"] for one in told["results"]] == [True, True, False, False, False]
    for before, number in zip(whole, range(1, 6), strict=True):
        np.testing.assert_allclose(load_depth(f"out/shot.{number:04d}.depth.npz")[0], before, rtol=1e-4)
    with open_video("out/shot.preview.mp4") as preview:
        assert len(list(preview)) == 5
    again = run(*command, "--existing", "skip")
    assert all(one["skipped"] for one in json.loads(again.stdout)["results"])
    failed = run(*command, "--existing", "fail")
    assert failed.exit_code == 1 and "shot.preview.mp4 is there already" in failed.stderr


def test_photos_and_videos_of_a_folder(run, tmp_path):
    write_photo(tmp_path / "in" / "IMG_1.png")
    write_photo(tmp_path / "in" / "b.0001.png")
    for name in ("IMG_1.MOV", "b.mp4", "c.mp4", "c.mkv"):
        write_video(tmp_path / "in" / name, 1)
    done = run("infer", "in", "-o", "in", "--preview")
    assert done.exit_code == 0, done.stderr
    made = {name.removesuffix(".disparity.npz") for name in names(Path("in")) if name.endswith("npz")}
    assert made == {"IMG_1", "IMG_1.0001", "b.0001", "b_mp4.0001", "c_mp4.0001", "c_mkv.0001"}
    again = run("infer", "in", "-o", "in", "--preview", "--json")  # its own previews are no videos
    assert len(json.loads(again.stdout)["results"]) == 6 and len(json.loads(again.stdout)["videos"]) == 4


def test_of_a_damaged_video_what_can_be_read_is_kept_and_told(run, tmp_path):
    path = write_video(tmp_path / "in" / "cut.mp4", 30, options={"g": "5", "qp": "20"}, size=(480, 120))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    write_photo(tmp_path / "in" / "z.png")
    done = run("infer", "in", "-o", "out", "--preview", "--max-pixels", 9000, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    frames = [one["frame"] for one in told["results"] if one["frame"]]
    assert frames == list(range(1, len(frames) + 1)) and 3 < len(frames) < 30
    (failure,) = told["failures"]
    assert f"{len(frames)} of about 30 frames could be read" in failure["error"]
    assert told["videos"][0]["frames"] == len(frames) and Path("out/cut.preview.mp4").exists()
    assert Path(told["results"][-1]["input"]).name == "z.png"
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_does_not_fit_a_video_is_one_sentence(run, shot, tmp_path, monkeypatch):
    save_depth(tmp_path / "sensor.npz", np.ones((120, 160), np.float32))
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 99)
    for arguments, text in (
        ((shot, "--align", "sensor.npz"), "is no folder; the frames of a video need one with a depth file each"),
        (("noise.mp4",), "no video"),
        ((shot, "--cluster", "ray"), "leave out --cluster"),
    ):
        done = run("infer", *arguments, "-o", "out")
        assert done.exit_code == 1
        assert len(done.stderr.strip().splitlines()) == 1 and text in done.stderr
        assert not Path("out").exists()
    done = run("bench", shot)
    assert done.exit_code == 1 and "is a video, not a photo" in done.stderr
    monkeypatch.setitem(sys.modules, "av", None)
    photo = write_photo(tmp_path / "in" / "z.png")
    done = run("infer", "in", "-o", "out")
    assert done.exit_code == 1 and "needs the extra video; run: pip install 'pro-engine[video]'" in done.stderr
    assert f"{photo.stem}.disparity.npz" in names(Path("out"))


def test_depth_of_a_sensor_for_every_frame(run, shot):
    run("infer", shot, "-o", "out")
    for number in range(1, 6):
        seen = disparity(f"shot.{number:04d}.disparity.npz")
        depth = 1 / (0.1 * (seen - seen.min()) + 0.2 + number / 50)
        save_depth(f"sensor/shot.{number:04d}.npz", depth)
    done = run("infer", shot, "-o", "out", "--align", "sensor", "--json")
    assert done.exit_code == 0, done.stderr
    shifts = [one["scale"]["shift"] for one in json.loads(done.stdout)["results"]]
    assert all(later > earlier for earlier, later in itertools.pairwise(shifts))


def test_a_full_disk_ends_the_preview_not_the_maps(run, shot, monkeypatch):
    from pro_engine.errors import FileError
    from pro_engine.io.video import VideoWriter

    def full(self: VideoWriter, *_: Any) -> None:
        raise FileError(f"{self.path} cannot be written: the disk is full.")

    monkeypatch.setattr(VideoWriter, "write", full)
    done = run("infer", shot, "-o", "out", "--preview")
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1 and "shot.preview.mp4 cannot be written: the disk" in done.stderr
    assert {f"shot.{number:04d}.disparity.npz" for number in range(1, 6)} <= names(Path("out"))


def test_ctrl_c_says_how_far_it_was_and_leaves_no_part_of_a_preview(run, shot, tmp_path, monkeypatch):
    from pro_engine.jobs import writing as job

    real = job.save_depth

    def stop_at_3(path, *arguments, **options):
        if "0003.disparity" in str(path):
            raise KeyboardInterrupt
        real(path, *arguments, **options)

    monkeypatch.setattr(job, "save_depth", stop_at_3)
    done = run("infer", shot, "-o", "out", "--preview", "--json")
    assert done.exit_code == 130
    assert "Stopped: 2 of 5 frames of shot.mov are done." in done.stderr
    assert json.loads(done.stdout)["stopped"] is True and len(json.loads(done.stdout)["results"]) == 2
    written = {f"shot.000{number}.{what}" for number in (1, 2) for what in ("disparity.npz", "made.json")}
    assert names(Path("out")) == written | {"intrinsics.json"}


def test_the_bar_tells_the_time_left(shot, tmp_path):
    """In a process of its own, with a terminal that Rich is told of."""
    code = (
        "import time\nfrom pro_engine.cli.output import progress_bar\nwith progress_bar() as show:\n"
        "    for done in range(6):\n        show('1/1 shot.mov', done, 100)\n        time.sleep(0.3)\n"
        "    print('a result')\n"
    )
    wide = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "120"}
    ran = subprocess.run([sys.executable, "-c", code], env=wide, capture_output=True, text=True, check=True)
    assert ran.stdout == "a result\n"
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.stderr)
    assert re.search(r"1/1 shot\.mov .* 5/100 \d:\d\d:\d\d \d:\d\d:\d\d left", shown)


def test_pictures_do_not_pile_up(run, tmp_path, monkeypatch):
    from pro_engine.io.video import VideoReader

    real, made, most = VideoReader._image, [], []

    def counted(self: VideoReader, one: Any) -> np.ndarray:
        image = real(self, one)
        made.append(weakref.ref(image))
        most.append(sum(ref() is not None for ref in made))
        return image

    monkeypatch.setattr(VideoReader, "_image", counted)
    assert run("infer", write_video(tmp_path / "a.mp4", 12), "-o", "out").exit_code == 0
    assert len(most) == 12 and max(most) <= 3  # one is read, one inferred, one written

"""`pro-engine serve` as another program sees it: a process, pipes, files."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import networks
import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner
from videos import write_video

from pro_engine.cli.main import app
from pro_engine.inference.tiling import input_size
from pro_engine.io.video import VideoWriter
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.serve import DECIDED, KEYS, WORDS, word_of
from pro_engine.options import InferenceOptions, ModelOptions, options_of

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
PHOTO = ROOT / "docs" / "photos" / "dandelion.jpg"
FOR_HOSTS = {"maps": ["npy"], "picture": True, "anchors": True}
PATIENCE_S = 60.0  # for what comes at once unless something is broken


class Served:
    """A worker's process and the lines it said."""

    def __init__(self, command=(sys.executable, "-c", "from pro_engine.cli import start; start()", "serve")):
        pipe, alone = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}  # as many as here, for the same bits
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1, env=alone)

    def ask(self, **request):
        self.raw(json.dumps(request))

    def raw(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def until_end_of(self, job):
        """All events of a job, the last one ends it."""
        events = []
        while not events or events[-1]["event"] == "progress":
            event = self.hear()
            if event.get("id") == job:
                events.append(event)
        return events

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def served():
    worker = Served()
    worker.ready = worker.hear()
    yield worker
    assert worker.close() == 0


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photo held upright with the camera turned: stored lying."""
    path = tmp_path_factory.mktemp("photo") / "flöwer one.jpg"
    picture = Image.open(PHOTO)
    picture.thumbnail((640, 640))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 50  # focal length as on 35 mm film
    picture.save(path, exif=exif)
    return path


def file_of(result, kind):
    """The path of the one output of a kind."""
    (path,) = [out["path"] for out in result["outputs"] if out["kind"] == kind]
    return path


def map_of(result, kind="disparity"):
    """As another program reads it."""
    return np.load(file_of(result, kind), allow_pickle=False)


def test_the_first_line_tells_the_protocol_and_version(served):
    import pro_engine

    assert served.ready["event"] == "ready" and served.ready["protocol"] == 2
    assert served.ready["version"] == pro_engine.__version__ and served.ready["pid"] == served.process.pid


def test_info_tells_device_and_models(served):
    served.ask(id="i", do="info")
    (answer,) = served.until_end_of("i")
    assert answer["event"] == "done" and answer["result"]["device"] == "cpu"
    assert any(model["name"] == "compact" for model in answer["result"]["models"])


def test_infer_gives_progress_and_files_that_agree_with_the_engine(served, photo, tmp_path):
    import pro_engine as pro

    served.ask(id=1, do="infer", photo=str(photo), folder=str(tmp_path / "new"), tiles=[2, 2], **FOR_HOSTS)
    events = served.until_end_of(1)
    phases = [event["phase"] for event in events[:-1]]
    assert phases[0] == "load" and phases[1] == "read" and phases[-1] == "write"
    steps = [(event["done"], event["total"]) for event in events[:-1] if event["phase"] == "infer"]
    assert len(steps) >= 2 and steps[-1] == (5, 5) and steps == sorted(steps)
    result = events[-1]["result"]

    image, _ = pro.load_image(photo)
    expected = pro.load_model().infer(image, options=pro.InferenceOptions(tiles=(2, 2))).disparity
    disparity = map_of(result)
    assert pro.load_depth(file_of(result, "disparity"))[1].quantity == "disparity" and disparity.dtype == np.float32
    np.testing.assert_allclose(disparity, expected, atol=1e-4)
    assert (result["height"], result["width"]) == image.shape[:2] and image.shape[0] > image.shape[1]
    np.testing.assert_array_equal(np.asarray(Image.open(file_of(result, "picture"))), image)

    near, far = result["anchors"]["near"], result["anchors"]["far"]
    scale = (1 / 2.0 - 1 / 8.0) / (near - far)
    link = pro.range_scale_shift(expected, near_m=2.0, far_m=8.0, cut_plateau=False)
    assert scale == pytest.approx(link.scale, rel=1e-3) and 1 / 8.0 - scale * far == pytest.approx(link.shift, rel=1e-3)


def test_a_photo_of_too_many_pixels_is_reduced(served, photo, tmp_path):
    import pro_engine as pro

    whole, lens = pro.load_image(photo)
    for job, limit in ((30, 100_000), (31, whole.shape[0] * whole.shape[1])):
        asked = {"folder": str(tmp_path), "tiles": [1, 1], "max_pixels": limit, **FOR_HOSTS}
        served.ask(id=job, do="infer", photo=str(photo), **asked)
        result = served.until_end_of(job)[-1]["result"]
        disparity = map_of(result)
        picture = np.asarray(Image.open(file_of(result, "picture")))
        assert disparity.shape == picture.shape[:2] == (result["height"], result["width"])
        assert result["reduced"] == (job == 30) == (disparity.shape != whole.shape[:2])
        assert 0.97 * limit < disparity.size <= limit
        assert disparity.shape[1] / disparity.shape[0] == pytest.approx(whole.shape[1] / whole.shape[0], rel=0.01)
        assert result["lens"]["source"] == "exif"
        assert result["lens"]["fx"] / result["width"] == pytest.approx(lens.fx / lens.width)


def test_the_model_is_loaded_once(served, photo, tmp_path):
    for job in (2, 3):
        served.ask(id=job, do="infer", photo=str(photo), folder=str(tmp_path), tiles=[1, 1], device="cpu")
    served.until_end_of(2)
    assert all(event.get("phase") != "load" for event in served.until_end_of(3))


def test_frames_of_a_shot_are_on_one_scale(served, photo, tmp_path):
    later = tmp_path / "later.png"
    picture = ImageOps.exif_transpose(Image.open(photo))
    picture.crop((0, 0, picture.width, picture.height - 6)).resize(picture.size).save(later)
    found = []
    for job, path, more in ((20, photo, {"shot": True}), (21, later, {"shot": True}), (22, later, {})):
        asked = {"folder": str(tmp_path / str(job)), "tiles": [1, 1], **more, **FOR_HOSTS}
        served.ask(id=job, do="infer", photo=str(path), **asked)
        found.append(served.until_end_of(job)[-1]["result"])
    first, held, alone = map(map_of, found)
    assert found[0]["anchors"] == found[1]["anchors"] != found[2]["anchors"]
    scale, shift = np.polyfit(alone.ravel(), held.ravel(), 1)
    assert (scale * alone + shift - held).std() < 0.1 * held.std() and (scale, shift) != pytest.approx((1, 0), abs=1e-4)
    assert np.abs(held - first).mean() < np.abs(alone - first).mean()


def test_a_frame_of_a_video_is_inferred_as_a_photo_is(served, photo, tmp_path):
    pytest.importorskip("av", reason="the extra video is not installed")
    picture = np.array(ImageOps.exif_transpose(Image.open(photo)))
    movie = tmp_path / "movie.mp4"
    with VideoWriter(movie) as writer:
        for k in range(3):
            writer.write(picture, k / 25)
    asked = {"folder": str(tmp_path / "maps"), "tiles": [1, 1], "shot": True, **FOR_HOSTS}
    served.ask(id=31, do="infer", photo=str(movie), frame=2, **asked)
    result = served.until_end_of(31)[-1]["result"]
    assert (result["width"], result["height"]) == picture.shape[1::-1]
    assert Path(result["outputs"][0]["path"]).name.startswith("movie.0002.")
    served.ask(id=32, do="infer", photo=str(movie), frame=9, **asked)
    assert "no frame 9" in served.until_end_of(32)[-1]["message"]


def test_cancelling_ends_the_job_at_once_and_not_the_next(served, photo, tmp_path):
    served.ask(id=4, do="infer", photo=str(photo), folder=str(tmp_path), tiles=[16, 16], device="cpu")
    while served.hear().get("phase") != "infer":
        pass
    served.ask(id=5, do="info")
    served.ask(do="cancel", job=4)
    assert served.until_end_of(4)[-1]["event"] == "cancelled"
    assert not list(tmp_path.iterdir()), "nothing is written"
    assert served.until_end_of(5)[-1]["event"] == "done"


def test_a_job_that_waits_can_be_cancelled_too(served, photo, tmp_path):
    served.ask(id=6, do="infer", photo=str(photo), folder=str(tmp_path), tiles=[8, 8], device="cpu")
    served.ask(id=7, do="infer", photo=str(photo), folder=str(tmp_path / "none"), device="cpu")
    served.ask(do="cancel", job=7)
    assert served.until_end_of(6)[-1]["event"] == "done"
    assert served.until_end_of(7) == [{"event": "cancelled", "id": 7}]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "not JSON"),
        ("[1, 2]", "no JSON object"),
        ("[" * 1000, "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"id": 9, "do": "info", "x": ' + "[" * 900 + "]" * 900 + "}", "within another"),
        ('{"id": 9, "do": "info", "x": {"y": {"z": 1}}}', "within another"),
        ('{"id": NaN, "do": "info"}', "finite number"),
        ('{"id": -Infinity, "do": "info"}', "finite number"),
        ('{"id": 1e999, "do": "info"}', "finite number"),
        ('{"id": ' + "9" * 5000 + ', "do": "info"}', "not JSON"),
        ('{"do": "cancel", "job": NaN}', "finite number"),
        ('{"id": 9, "do": "cancel"}', '"job"'),
        ('{"id": "\\ud800", "do": "info"}', "lone surrogate"),
        ('{"id": 9, "do": "infer", "photo": "\\ud83d.jpg", "folder": "/tmp"}', "lone surrogate"),
        ('{"id": 9, "do": "infer", "photo": "caf\\udce9.jpg", "folder": "/tmp"}', "does not exist"),
        ('{"id": 9, "do": "infer", "photo": "a\\u0000.jpg", "folder": "/tmp"}', "null character"),
        ('{"id": 9, "do": "info", "x": "' + "x" * 3_000_000 + '"}', "1048576 characters"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "far_m": NaN}', "far_m is nan"),
        ('{"id": 9}', "do"),
        ('{"id": [1], "do": "info"}', "id"),
        ('{"id": 9, "do": "dance"}', "dance"),
        ('{"id": 9, "do": "infer"}', "photo"),
        ('{"id": 9, "do": "infer", "photo": "/none.jpg", "folder": "/tmp"}', "does not exist"),
        ('{"id": 9, "do": "infer", "photo": "/none.jpg", "folder": 3}', "folder"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "refine": [1]}', "refine"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "tiles": {"rows": 1}}', "tiles"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "tyles": 1}', "tyles"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "max_pixels": 0}', "max_pixels is 0; give"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "model": 3}', "model is 3; give a text"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "shot": 1}', "shot is 1; give true or false"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "keep_coarse": true}', "does not know keep_coarse"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "near_m": 1}', "Only one of near_m and far_m"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "model": "compakt"}', "compact"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "device": "cuda:7"}', "cuda"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "weights": "/none.safetensors"}', "none.safetensors"),
    ],
    ids=lambda text: text[:60],
)
def test_a_bad_request_gives_one_sentence_and_the_worker_goes_on(served, line, words):
    served.raw(line)
    answer = served.hear()
    while answer["event"] == "progress":
        answer = served.hear()
    assert answer["event"] == "error" and answer["kind"] != "Bug"
    assert words in answer["message"] and "\n" not in answer["message"]
    served.ask(id=10, do="info")
    assert served.until_end_of(10)[-1]["event"] == "done"


def test_a_cancel_before_its_job_does_not_touch_it(served):
    """Nor one that names no job: a job without an id has the id null."""
    for job in (12, None, 12):
        served.ask(do="cancel", job=job)
        served.ask(id=job, do="info")
        assert served.until_end_of(job)[-1]["event"] == "done"


def test_what_libraries_print_does_not_reach_the_protocol():
    code = "import os, pro_engine as pro, pro_engine.inference.load as m; from pro_engine.jobs.serve import serve\n"
    code += "def load(_): print('noise'); os.system('echo more'); raise pro.WeightsError('none there')\n"
    code += "m.load = load\nserve()\n"
    worker = Served([sys.executable, "-c", code])
    assert worker.hear()["event"] == "ready"
    worker.ask(id=1, do="infer", photo="a", folder="b")
    assert worker.until_end_of(1)[-1]["message"] == "none there"
    worker.process.stdin.close()
    with worker.process.stderr as errors, worker.process.stdout:
        said = errors.read()
    assert worker.process.wait(PATIENCE_S) == 0 and "noise" in said and "more" in said


def test_it_dies_with_its_parent_even_in_the_middle_of_a_job():
    code = "import time, subprocess, sys\n"
    code += "p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE, text=True)\n"
    code += 'p.stdin.write(\'{"id": 1, "do": "infer", "photo": "a", "folder": "b"}\\n\'); p.stdin.flush()\n'
    code += "print(p.pid, flush=True); time.sleep(3600)\n"
    stuck = "import time, pro_engine.inference.load as m; from pro_engine.jobs.serve import serve\n"
    stuck += "m.load = lambda _: time.sleep(3600)\nserve()\n"
    parent = subprocess.Popen([sys.executable, "-c", code, stuck], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    while '"load"' not in (line := parent.stdout.readline()):
        assert line
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + PATIENCE_S
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    parent.stdout.close()
    assert not _alive(pid)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_keys_are_the_fields_by_one_word_each():
    owners = (ModelOptions, InferenceOptions, JobOptions)
    words = [word_of(one.name) for owner in owners for one in options_of(owner)]
    assert len(words) == len(set(words)) and set(WORDS) <= {one.name for owner in owners for one in options_of(owner)}
    assert set(words) - DECIDED == KEYS - {"photo", "folder", "frame"}


# What is told, as docs/json.md describes it


def tables():
    """Of the page, by heading in lower case: each key with its type, and whether it may be missing."""
    found, heading = {}, ""
    for line in (ROOT / "docs" / "json.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:].strip().lower()
        elif line.startswith("| `"):
            keys, kind, text = (cell.strip() for cell in line.strip("|").split(" | "))
            found.setdefault(heading, {}).update({key.strip(" `"): (kind, "only" in text) for key in keys.split(",")})
    return found


class Page:
    """Holds values to the page; `seen` are the keys that had a value."""

    def __init__(self):
        self.tables, self.seen = tables(), set()

    def fits(self, value, kind):
        if kind.endswith(" or null"):
            return value is None or self.fits(value, kind.removesuffix(" or null"))
        if kind.startswith("list of "):
            return isinstance(value, list) and all(self.fits(item, kind.removeprefix("list of ")) for item in value)
        if kind.startswith("pair of "):
            return self.fits(value, kind.replace("pair", "list")) and len(value) == 2
        if kind.startswith("*"):
            return self.describes(value, kind.strip("*"))
        types = {"text": str, "count": int, "number": (int, float), "true or false": bool}[kind]
        return isinstance(value, types) and (kind == "true or false" or not isinstance(value, bool))

    def describes(self, value, name):
        rows = self.tables[name]
        needed = {key for key, (_, optional) in rows.items() if not optional}
        assert needed <= set(value) <= set(rows), f"{name}: {sorted(set(value) ^ set(rows))}"
        for key, (kind, _) in rows.items():
            if key in value:
                assert self.fits(value[key], kind), f"{name}.{key} is {value[key]!r}, not {kind}"
                self.seen |= {(name, key)} if value[key] is not None else set()
        return True


ASKED = {
    "as by default": {},
    "for a host": FOR_HOSTS,
    "everything": {
        "maps": ["npz", "npy"], "mesh": ["glb"], "cloud": ["ply"], "preview": True, "picture": True, "anchors": True,
        "near_m": 1.5, "far_m": 6.0, "max_pixels": 100_000, "tiles": [2, 2],
    },
    "coarse": {"refine": "none"},
}  # fmt: skip


OF_MODELS = {"model", "model card", "expected"}  # tables of the page that no job fills


def flags_of(asked):
    """The command line's words for what a request asks."""
    flags = []
    for key, value in asked.items():
        flags.append("--" + key.removesuffix("_m").replace("_", "-"))
        if isinstance(value, list):
            flags.append(("x" if key == "tiles" else ",").join(map(str, value)))
        elif value is not True:
            flags.append(str(value))
    return flags


def test_both_hosts_write_and_tell_the_same_as_the_page_says(served, photo, tmp_path):
    page = Page()
    for job, (name, asked) in enumerate(ASKED.items(), 100):
        here, there = tmp_path / name / "cli", tmp_path / name / "serve"
        photos = [str(photo), str(photo.with_name("no.jpg"))]
        done = CliRunner().invoke(app, ["infer", *photos, "-o", str(here), "--json", *flags_of(asked)])
        document = json.loads(done.stdout)
        assert page.describes(document, "document") and len(document["failures"]) == 1
        served.ask(id=job, do="infer", photo=str(photo), folder=str(there), **asked)
        result = served.until_end_of(job)[-1]["result"]
        assert page.describes(result, "photo")
        (told,) = document["results"]
        assert set(told["timings"]) == set(result["timings"]) and told["seconds"] == told["timings"]["total"]
        cameras = json.loads((here / "intrinsics.json").read_text())["photos"]  # of the whole job, not of a photo
        assert cameras[photo.stem].items() >= {key: told["lens"][key] for key in ("fx", "fy", "cx", "cy")}.items()
        (here / "intrinsics.json").unlink()
        for folder in (here, there):
            (folder / f"{photo.stem}.made.json").unlink()  # differs: tells when the files were written
        for one, folder in ((told, here), (result, there)):
            assert {out["path"] for out in one["outputs"]} == {str(path) for path in folder.iterdir()}
            del one["seconds"], one["timings"]
            one["outputs"] = [out | {"path": Path(out["path"]).name} for out in one["outputs"]]
        assert told == result, name
        for path in here.iterdir():
            assert path.read_bytes() == (there / path.name).read_bytes(), path.name
    if importlib.util.find_spec("av"):
        video = write_video(tmp_path / "wide.mp4", 2, aspect=Fraction(2))  # of which there is something to note
        done = CliRunner().invoke(app, ["infer", str(video), "-o", str(tmp_path), "--preview", "--json"])
        document = json.loads(done.stdout)
        assert page.describes(document, "document") and len(document["videos"]) == 1
    else:  # nobody has seen a video
        page.seen |= {("video", key) for key in page.tables["video"]} | {("photo", "frame"), ("photo", "time_s")}
    wanted = {(table, key) for table, rows in page.tables.items() for key in rows if table not in OF_MODELS}
    assert page.seen == wanted


def test_what_is_told_of_models_is_as_the_page_says(served):
    page = Page()
    listed = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert all(page.describes(model, "model") for model in listed)
    served.ask(id="m", do="info")
    assert served.until_end_of("m")[-1]["result"]["models"] == listed
    card = json.loads(CliRunner().invoke(app, ["info", "moge-2-vits", "--json"]).stdout)
    (model,) = (model for model in listed if model["name"] == "moge-2-vits")
    assert model.items() <= card.items()
    assert page.describes({key: value for key, value in card.items() if key not in model}, "model card")
    assert page.seen >= {(table, key) for table in OF_MODELS for key in page.tables[table]}


def test_what_takes_much_is_told_before_it_is_loaded(served, photo, tmp_path):
    large = {"model": "depth-pro", "device": "cpu", "offline": True, "cache_dir": str(tmp_path)}
    served.ask(id="l", do="infer", photo=str(photo), folder=str(tmp_path), **large)
    load, end = served.until_end_of("l")
    assert load["phase"] == "load" and load["expected"]["memory_gb"] > 9 and load["expected"]["seconds"] > 10
    assert end["event"] == "error" and "offline mode is on" in end["message"]
    served.ask(id="s", do="infer", photo=str(photo), folder=str(tmp_path), refine="none")
    assert not any("expected" in event for event in served.until_end_of("s"))


def test_a_photo_that_is_skipped_tells_nothing_else(served, photo, tmp_path):
    for job in (110, 111):
        served.ask(id=job, do="infer", photo=str(photo), folder=str(tmp_path), tiles=[1, 1], existing="skip")
        result = served.until_end_of(job)[-1]["result"]
    assert Page().tables["photo"].keys() == result.keys() and result["skipped"]
    assert not any(np.any(value) for key, value in result.items() if key not in ("input", "skipped"))


def test_metres_of_a_model_and_its_lens_say_where_they_come_from(photo, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(HELPERS)!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "import networks, pro_engine.inference.load as m; from pro_engine.jobs.serve import serve\n"
        "wall = networks.WallPsi(by_focal=True, focal_px=50.0)\n"
        "m.load = lambda _: networks.tiny_predictor(psi=wall, trained=False)\n"
        "serve()\n"
    )
    picture = Image.open(photo)
    picture.save(photo.with_name("no_exif.png"))
    worker = Served([sys.executable, "-c", code])
    assert worker.hear()["event"] == "ready"
    asked = {"photo": str(photo.with_name("no_exif.png")), "folder": str(tmp_path), "refine": "blend", "maps": ["npy"]}
    worker.ask(id=1, do="infer", scale_from="metric", **asked)
    result = worker.until_end_of(1)[-1]["result"]
    assert (result["lens"]["source"], result["scale"]["source"]) == ("model", "metric")
    height, width = input_size(result["height"], result["width"], networks.SPEC)
    seen_px = (50 + result["lens"]["fy"] * height / result["height"]) / 2  # 100: a wall at 3 m
    assert result["lens"]["fx"] * width / result["width"] == pytest.approx(50)
    np.testing.assert_allclose(np.load(file_of(result, "depth")), 3 * seen_px / 100, rtol=5e-3)
    assert worker.close() == 0

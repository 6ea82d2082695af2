"""`pro-engine serve` as another program sees it: a process, pipes, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

PHOTO = Path(__file__).parents[1] / "docs" / "photos" / "dandelion.jpg"
PATIENCE_S = 60.0  # for what comes at once unless something is broken


class Served:
    """A worker's process and the lines it said."""

    def __init__(self, command=(sys.executable, "-c", "from pro_engine.cli import main; main()", "serve")):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1)

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


def read_array(path):
    """As the documentation tells a reader to."""
    with open(path, "rb") as file:
        header = json.loads(file.readline())
        assert file.tell() % 64 == 0
        return np.fromfile(file, header["dtype"]).reshape(header["shape"]), header


def test_the_first_line_tells_the_protocol_and_version(served):
    import pro_engine

    assert served.ready["event"] == "ready" and served.ready["protocol"] == 1
    assert served.ready["version"] == pro_engine.__version__ and served.ready["pid"] == served.process.pid


def test_info_tells_device_and_models(served):
    served.ask(id="i", do="info")
    (answer,) = served.until_end_of("i")
    assert answer["event"] == "done" and answer["result"]["device"] == "cpu"
    assert any(model["name"] == "compact" for model in answer["result"]["models"])


def test_infer_gives_progress_and_files_that_agree_with_the_engine(served, photo, tmp_path):
    import pro_engine as pro

    served.ask(id=1, do="infer", photo=str(photo), folder=str(tmp_path / "new"), tiles=[2, 2])
    events = served.until_end_of(1)
    phases = [event["phase"] for event in events[:-1]]
    assert phases[0] == "load" and phases[1] == "read" and phases[-1] == "write"
    steps = [(event["done"], event["total"]) for event in events[:-1] if event["phase"] == "infer"]
    assert len(steps) >= 2 and steps[-1] == (5, 5) and steps == sorted(steps)
    result = events[-1]["result"]

    image, _ = pro.load_image(photo)
    expected = pro.load_model("compact").infer(image, options=pro.InferenceOptions(tiles=(2, 2))).disparity
    disparity, header = read_array(result["disparity"])
    assert header["quantity"] == "disparity" and disparity.dtype == np.dtype("<f4")
    np.testing.assert_allclose(disparity, expected, atol=1e-4)
    assert (result["height"], result["width"]) == image.shape[:2] and image.shape[0] > image.shape[1]
    np.testing.assert_array_equal(np.asarray(Image.open(result["picture"])), image)

    near, far = result["anchors"]["near"], result["anchors"]["far"]
    scale = (1 / 2.0 - 1 / 8.0) / (near - far)
    link = pro.range_scale_shift(expected, near_m=2.0, far_m=8.0, cut_plateau=False)
    assert scale == pytest.approx(link.scale, rel=1e-3) and 1 / 8.0 - scale * far == pytest.approx(link.shift, rel=1e-3)


def test_a_photo_of_too_many_pixels_is_reduced(served, photo, tmp_path):
    import pro_engine as pro

    whole, lens = pro.load_image(photo)
    for job, limit in ((30, 100_000), (31, whole.shape[0] * whole.shape[1])):
        served.ask(id=job, do="infer", photo=str(photo), folder=str(tmp_path), tiles=[1, 1], max_pixels=limit)
        result = served.until_end_of(job)[-1]["result"]
        disparity, _ = read_array(result["disparity"])
        picture = np.asarray(Image.open(result["picture"]))
        assert disparity.shape == picture.shape[:2] == (result["height"], result["width"])
        assert result["reduced"] == (job == 30) == (disparity.shape != whole.shape[:2])
        assert 0.97 * limit < disparity.size <= limit
        assert disparity.shape[1] / disparity.shape[0] == pytest.approx(whole.shape[1] / whole.shape[0], rel=0.01)
        assert result["intrinsics"]["fx"] / result["width"] == pytest.approx(lens.fx / lens.width)


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
        served.ask(id=job, do="infer", photo=str(path), folder=str(tmp_path / str(job)), tiles=[1, 1], **more)
        found.append(served.until_end_of(job)[-1]["result"])
    first, held, alone = (read_array(result["disparity"])[0] for result in found)
    assert found[0]["anchors"] == found[1]["anchors"] != found[2]["anchors"]
    scale, shift = np.polyfit(alone.ravel(), held.ravel(), 1)
    assert np.allclose(scale * alone + shift, held, atol=1e-3) and (scale, shift) != pytest.approx((1, 0), abs=1e-4)


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
        ("[1, 2]", "do"),
        ('{"id": 9}', "do"),
        ('{"id": [1], "do": "info"}', "id"),
        ('{"id": 9, "do": "dance"}', "dance"),
        ('{"id": 9, "do": "infer"}', "photo"),
        ('{"id": 9, "do": "infer", "photo": "/none.jpg", "folder": "/tmp"}', "does not exist"),
        ('{"id": 9, "do": "infer", "photo": "/none.jpg", "folder": 3}', "folder"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "refine": [1]}', "refine"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "tiles": {"rows": 1}}', "tiles"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "tyles": 1}', "tyles"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "max_pixels": 0}', "max_pixels"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "model": "compakt"}', "compact"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "device": "cuda:7"}', "cuda"),
        ('{"id": 9, "do": "infer", "photo": "a", "folder": "b", "weights": "/none.safetensors"}', "none.safetensors"),
    ],
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


def test_what_libraries_print_does_not_reach_the_protocol():
    code = "import os, pro_engine.worker as w, pro_engine as pro\n"
    code += "def load(*a, **k): print('noise'); os.system('echo more'); raise pro.WeightsError('none there')\n"
    code += "pro.load_model = load\nw.serve()\n"
    worker = Served([sys.executable, "-c", code])
    assert worker.hear()["event"] == "ready"
    worker.ask(id=1, do="infer", photo="a", folder="b")
    assert worker.until_end_of(1)[-1]["message"] == "none there"
    worker.process.stdin.close()
    said = worker.process.stderr.read()
    worker.process.stdout.close()
    assert worker.process.wait(PATIENCE_S) == 0 and "noise" in said and "more" in said


def test_it_dies_with_its_parent_even_in_the_middle_of_a_job():
    code = "import time, subprocess, sys\n"
    code += "p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE, text=True)\n"
    code += 'p.stdin.write(\'{"id": 1, "do": "infer", "photo": "a", "folder": "b"}\\n\'); p.stdin.flush()\n'
    code += "print(p.pid, flush=True); time.sleep(3600)\n"
    stuck = "import time, pro_engine.worker as w, pro_engine as pro\n"
    stuck += "pro.load_model = lambda *a, **k: time.sleep(3600)\nw.serve()\n"
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

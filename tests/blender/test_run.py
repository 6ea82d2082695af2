"""A run from the first photo to the last, with the real engine, and with engines that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from blender_addon.engine import client as client_module
from blender_addon.engine import run as run_module
from blender_addon.engine.client import reap, wait_for_ends
from blender_addon.engine.run import EngineOptions, EngineRun
from tests.blender.engines import engine_python, is_running, one_sentence, program, until

PHOTOS = Path(__file__).parents[2] / "docs" / "photos"
PATIENCE_S = 240.0
SERVE = """
ready()
for job in requests():
    if job["do"] == "infer":
        name = os.path.basename(job["photo"])
"""


@pytest.fixture
def go(tmp_path):
    """Starts a run over named photos with a fake engine; its body is what it does with a `job` of a photo `name`."""
    runs = []

    def go(body, *names, whole=False, **options):
        engine = program(
            tmp_path, body if whole else SERVE + "\n".join(f"        {line}" for line in body.splitlines())
        )
        run = EngineRun(
            [tmp_path / name for name in names or ("a.jpg",)], tmp_path / "maps", engine=str(engine), **options
        )
        runs.append(run)
        run.begin()
        return run

    yield go
    for run in runs:
        run.stop("The test is over.")
    wait_for_ends()
    assert not reap()


class Clock:
    """Stands in for the module `time`; turned by hand."""

    now_s = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    """Of a run and its engine."""
    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    monkeypatch.setattr(client_module, "time", clock)
    return clock


def follow(run, limit_s=30.0, look=lambda: None):
    """Poll to the end, and look each time; what was seen on the way, as (state, progress, seconds left)."""
    seen = []

    def over():
        more = run.poll()
        look()
        seen.append((run.state, run.progress, run.seconds_left))
        return not more

    until(over, limit_s)
    progress = [step[1] for step in seen]
    assert progress == sorted(progress) and progress[0] >= 0 and progress[-1] <= 1
    return seen


def failure_of(run):
    """The sentence of a run that has failed."""
    assert run.over and run.notice.is_error and run.notice.text == run.failure
    return one_sentence(run.failure)


def is_done(run):
    return run.over and not run.notice.is_error and run.failure == ""


def test_what_a_photo_is_expected_to_take_is_said_and_waited_for(go):
    run = go(
        "work(job, 'load', expected={'memory_gb': 9.46, 'seconds': 164}); work(job, 'read'); time.sleep(600)", "a.jpg"
    )
    until(lambda: run.poll() and run.caution)
    assert run.caution == (
        "Each photo is expected to take about 9.5 GB of memory and 3 min; another Model or Quality takes less."
    )
    assert run.caution in run.shown and run._silence_s == 4 * 164
    run.stop("It takes too long.")


@pytest.mark.parametrize("told", ["None", "7", "{}", "{'memory_gb': 'much', 'seconds': 1}"])
def test_an_expectation_that_is_none_is_left_aside(go, told):
    run = go(f"work(job, 'load', expected={told}); finish(job)")
    follow(run, PATIENCE_S)
    assert is_done(run) and run.caution == ""


# The real engine


@pytest.fixture
def small(tmp_path):
    """A small real photo, and one that is no picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    picture = Image.open(PHOTOS / "drum.jpg")
    picture.thumbnail((320, 320))
    picture.save(folder / "drum ü.jpg", quality=92)
    (folder / "text.jpg").write_text("no picture")
    return folder


def test_11_a_batch_gives_results_and_reasons_with_one_engine_and_one_load(small, tmp_path):
    """A photo, two that fail, the first again."""
    photos = [small / "drum ü.jpg", small / "text.jpg", small / "missing.jpg", small / "drum ü.jpg"]
    run = EngineRun(photos, tmp_path / "maps", EngineOptions(device="cpu", tiles=(2, 2)), engine=engine_python(),
              start_s=PATIENCE_S)  # fmt: skip
    run.begin()
    first, engines = run.client, set()
    seen = follow(run, PATIENCE_S, lambda: engines.add(run.client or first))
    assert is_done(run) and run.progress == 1 and run.notice.text == "2 of 4 photos have depth."
    assert [result.photo.name for result in run.results] == ["drum ü.jpg"] * 2
    assert [skipped.photo.name for skipped in run.skipped] == ["text.jpg", "missing.jpg"]
    assert "does not exist" in run.skipped[1].reason
    assert all(one_sentence(skipped.reason) for skipped in run.skipped)
    assert run.loads == 1 and engines == {first}
    assert list(dict.fromkeys(state for state, _, _ in seen)) == ["starting", "loading", "inferring"]
    assert len({progress for _, progress, _ in seen}) >= 4
    assert any(left is not None and left > 0 for _, _, left in seen)
    maps_fit_the_picture(*run.results)


def maps_fit_the_picture(first, second):
    from blender_addon.maths.scale import Anchors, read_map

    values = read_map(first.disparity)
    assert values.shape == (first.height, first.width)
    with Image.open(first.picture) as picture:
        assert picture.size == (first.width, first.height) == (214, 320)
    assert Anchors.of(first.anchors).near > Anchors.of(first.anchors).far
    assert second.disparity != first.disparity and second.disparity.exists(), "photos of one name do not collide"


def test_the_real_engine_is_cancelled_in_the_middle(small, tmp_path):
    options = EngineOptions(device="cpu", tiles=(16, 16))
    run = EngineRun([small / "drum ü.jpg"], tmp_path / "maps", options, engine=engine_python(), start_s=PATIENCE_S)
    run.begin()
    until(lambda: run.poll() and run.state == "inferring" and run.progress > 0, PATIENCE_S)
    pid = run.client.pid
    run.stop("Cancelled.")
    assert run.over and not run.poll() and run.notice.text == "Cancelled." and run.failure == ""
    until(lambda: not reap())
    assert not is_running(pid) and not (tmp_path / "maps").exists()


# What the engine is asked


def test_the_engine_stays_offline_unless_it_is_told_otherwise(go):
    for online in (False, True):
        run = go("finish(job, model=str(job['offline']))", online=online)
        follow(run)
        assert run.results[0].model == str(not online)


def test_options_reach_the_engine_and_files_are_absolute(go, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = go("finish(job, model=json.dumps(job))", options=EngineOptions(tiles=(3, 4), weights="w.safetensors"))
    follow(run)
    job = json.loads(run.results[0].model)
    assert job["tiles"] == [3, 4] and job["weights"] == str(tmp_path / "w.safetensors") and job["refiner_weights"] == ""
    assert job["photo"] == str(tmp_path / "a.jpg")
    assert job["max_pixels"] * 16 < 2**31, "Blender loses packed float images of more bytes"


def test_frames_of_a_shot_are_told_to_be_such(go):
    for shot in (False, True):
        run = go("finish(job, model=str('shot' in job))", shot=shot)
        follow(run)
        assert run.results[0].model == str(shot), "engines that know no shots refuse the word"


def test_names_that_would_collide_get_folders_of_their_own(go):
    run = go("finish(job)", "a.jpg", "b.jpg", "A.png")
    follow(run)
    assert len({str(result.disparity).casefold() for result in run.results}) == 3


def test_seconds_left_count_the_photos_that_follow(go, clock):
    body = "work(job, done=1, total=2, seconds_left=2.0)\nif name != 'b.jpg': finish(job)"
    run = go(body, "a.jpg", "b.jpg", "c.jpg")
    until(lambda: run.poll() and run.state == "loading")
    clock.now_s += 5
    until(lambda: run.poll() and len(run.results) == 1 and run.progress == 0.5)
    assert run.seconds_left == 2 + 5, "this photo, and one more that takes as long as the first did"


# Faults


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "work(job, 'load'); say('error', id=job['id'], kind='WeightsError', message='No weights; go online.')",
            "online",
        ),
        ("say('error', id=job['id'], kind='Bug', message=\"No module named 'torch'; report it.\")", "lacks torch"),
    ],
)
def test_what_concerns_every_photo_ends_the_run(go, body, words):
    run = go(body, "a.jpg", "b.jpg")
    follow(run)
    assert words in failure_of(run) and not run.skipped


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), 9)", "killed"),
        ("sys.exit(3)", "exit code 3"),
        ("print('x' * 3_000_000)", "MiB"),
        ("say('done', id=job['id'], result={})", "not complete"),
        ("finish(job, width=None)", "not complete"),
        ("finish(job, anchors=[1])", "not complete"),
        ("say('done', id=job['id'])", "not complete"),
        ("say('cancelled', id=job['id'])", "gave the photo up"),
        ("say('error', id=job['id'], kind='DeviceError', message='The memory did not suffice; go.')", "memory"),
    ],
)
def test_one_bad_photo_is_skipped_with_its_reason(go, body, words):
    run = go(f"work(job, 'read')\nif name == 'bad.jpg':\n    {body}\nelse: finish(job)", "a.jpg", "bad.jpg", "c.jpg")
    follow(run)
    assert is_done(run) and [result.photo.name for result in run.results] == ["a.jpg", "c.jpg"]
    assert [skipped.photo.name for skipped in run.skipped] == ["bad.jpg"]
    assert words in one_sentence(run.skipped[0].reason)


def test_silence_ends_the_engine_and_skips_the_photo(go, clock):
    run = go("work(job)\nif name == 'a.jpg': time.sleep(600)\nelse: finish(job)", "a.jpg", "b.jpg", silence_s=10)
    until(lambda: run.poll() and run.state == "inferring")
    silent = run.client.pid
    clock.now_s += 10
    assert run.poll() and run.client.pid == silent
    clock.now_s += 1
    follow(run)
    assert is_done(run) and "said nothing for 10 s while it worked" in one_sentence(run.skipped[0].reason)
    until(lambda: not is_running(silent))


def test_9_a_kill_from_outside_is_told_by_the_next_poll(go):
    run = go("work(job)\ntime.sleep(600)")
    until(lambda: run.poll() and run.state == "inferring")
    pid = run.client.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid))
    run.poll()
    assert not run.poll() and "killed" in failure_of(run)


def test_an_engine_that_dies_at_every_photo_is_given_up(go):
    run = go("sys.exit(3)", *(f"{i}.jpg" for i in range(9)))
    follow(run)
    assert "3 photos in a row" in failure_of(run) and len(run.skipped) == 3


def test_results_stay_when_the_run_fails_later(go, tmp_path):
    body = "if name == 'b.jpg':\n    os.remove(sys.argv[0]); sys.exit(3)\nfinish(job)"
    run = go(body, "a.jpg", "b.jpg", "c.jpg")
    follow(run)
    assert "does not exist" in failure_of(run) and len(run.results) == 1


def test_when_no_photo_gives_depth_the_run_has_failed(go):
    body = "work(job, 'read'); say('error', id=job['id'], kind='FileError', message=f'{name} is bad; mend it.')"
    run = go(body, "a.jpg", "b.jpg")
    follow(run)
    assert "None of the 2 photos" in failure_of(run) and "a.jpg is bad" in run.failure
    assert len(run.skipped) == len(run.notice.details) == 2


@pytest.mark.parametrize("body", ["time.sleep(600)", "print('usage'); sys.exit(2)", "ready(protocol=7); time.sleep(9)"])
def test_an_engine_that_does_not_come_up_fails_the_run(go, body):
    run = go(body, "a.jpg", "b.jpg", whole=True, start_s=0.7)
    follow(run)
    assert failure_of(run) and not run.skipped


@pytest.mark.parametrize(
    ("photos", "engine", "words"), [(["a.jpg"], "/nowhere/python", "does not exist"), ([], sys.executable, "no photo")]
)
def test_no_engine_and_no_photo_are_told(tmp_path, photos, engine, words):
    run = EngineRun([tmp_path / name for name in photos], tmp_path, engine=engine)
    run.begin()
    assert not run.poll() and run.notice.is_error and words in one_sentence(run.notice.text) and run.progress == 0


def test_strange_numbers_of_progress_do_no_harm(go):
    body = "\n".join(
        f"work(job, done={done}, total={total}, seconds_left={left}); time.sleep(0.1)"
        for done, total, left in (
            (1, 2, 3),
            (1, 4, -5),
            ("'x'", 1, "None"),
            (5, 0, 0),
            (9, 3, "float('nan')"),
            (True, 1, 1),
        )
    )
    run = go(body + "\nwork(dict(id=99), done=1)\nfinish(job)")
    seen = follow(run)
    assert is_done(run) and all(left is None or left >= 0 for _, _, left in seen)


@pytest.mark.parametrize("body", ["work(job)\ntime.sleep(600)", "signal.signal(15, signal.SIG_IGN)\nwhile True: pass"])
def test_9_cancel_frees_the_caller_at_once_and_the_engine_ends_later(go, monkeypatch, body):
    run = go(body)
    until(lambda: run.poll() and run.state in ("loading", "inferring"))
    pid = run.client.pid
    monkeypatch.setattr(client_module, "QUIT_S", 3600.0)
    run.stop("Cancelled.")
    assert run.over and reap() and is_running(pid), "it was not waited for"
    monkeypatch.setattr(client_module, "QUIT_S", 0.0)
    until(lambda: not reap())
    assert not is_running(pid)


def test_9_the_engine_ends_with_a_host_that_is_killed(tmp_path):
    engine = program(tmp_path, SERVE + "        work(job)\nsys.exit(0)")
    code = "import sys, time; from blender_addon.engine.run import EngineRun\n"
    code += "r = EngineRun(['a.jpg'], '.', engine=sys.argv[1]); r.begin()\n"
    code += "while r.poll() and r.state != 'inferring': time.sleep(0.01)\n"
    code += "print(r.client.pid, flush=True); time.sleep(600)\n"
    host = subprocess.Popen(
        [sys.executable, "-c", code, str(engine)], stdout=subprocess.PIPE, text=True, cwd=PHOTOS.parents[1]
    )
    pid = int(host.stdout.readline())
    host.kill()
    host.wait()
    host.stdout.close()
    until(lambda: not is_running(pid))

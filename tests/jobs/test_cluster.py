"""Photos shared out over a Ray cluster of two workers on this machine, with the model that ships."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("ray")

import ray

from pro_engine.cli.main import app
from pro_engine.errors import InputError, ProEngineError, WeightsError
from pro_engine.inference.load import load_model
from pro_engine.io.depth import load_depth
from pro_engine.jobs.cluster import AT_ONCE, _Worker, address_of, infer_on_ray, spread
from pro_engine.jobs.infer import infer_all
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.pipeline import attempt_all
from pro_engine.jobs.report import PhotoReport
from pro_engine.options import InferenceOptions

# Ray's own processes do not always come up, or find each other, on a machine with other work.
pytestmark = pytest.mark.flaky(reruns=1)

COARSE = InferenceOptions(refine="none")
LOAD = partial(load_model, "compact", device="cpu", offline=True)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Twelve small pictures."""
    random, found = np.random.default_rng(0), []
    for index in range(12):
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).resize((96, 72), Image.Resampling.BICUBIC)
        found.append(Photo(tmp_path / f"{index:02}.png", f"{index:02}"))
        small.save(found[-1].path)
    return found


@contextmanager
def two_processors() -> Iterator[str]:
    """A cluster of this machine; its address."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made.address
    made.shutdown()


@pytest.fixture
def cluster(kept) -> str:
    """Where the cluster of most tests is."""
    return kept("cluster", two_processors)


@pytest.fixture
def share_out(tmp_path: Path, cluster: str) -> Iterator[partial]:
    """`infer_on_ray` for two workers of the cluster; after the test nothing is connected, even if it ended half-way."""
    yield partial(infer_on_ray, address=cluster, job=PhotoJob(tmp_path / "out", inference=COARSE), load=LOAD, workers=2)
    ray.shutdown()


def worker_pids(cluster: str) -> list[int]:
    """Processes of the cluster's workers that have begun a photo."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_Worker"):
                parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
                if cluster.encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                    pids.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return pids


def test_every_photo_is_done_as_on_one_machine(photos, share_out, tmp_path):
    (tmp_path / "03.png").write_text("no picture")
    outcomes = list(share_out(photos))
    assert len(outcomes) == len(photos)
    assert {Path(o.input).stem for o in outcomes if isinstance(o, PhotoReport)} == {p.name for p in photos} - {"03"}
    (failure,) = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    job = PhotoJob(tmp_path / "here", inference=COARSE)
    (here,) = infer_all(photos[3:4], job, LOAD())
    assert failure == here
    assert isinstance(next(infer_all(photos[:1], job, LOAD())), PhotoReport)
    shared, alone = (load_depth(tmp_path / folder / "00.disparity.npz")[0] for folder in ("out", "here"))
    np.testing.assert_allclose(shared, alone, atol=1e-3)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_a_killed_worker_loses_nothing_and_doubles_nothing(photos, share_out, cluster, tmp_path):
    outcomes = share_out(photos)
    told = [next(outcomes)]
    victims = worker_pids(cluster)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    told += outcomes
    assert sorted(Path(report.input).stem for report in told) == sorted(photo.name for photo in photos)
    assert all(isinstance(report, PhotoReport) for report in told), told
    suffixes = (".disparity.npz", ".made.json")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {photo.name + suffix for photo in photos for suffix in suffixes}


def deadly(photo: Path) -> None:
    """A model that ends its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_photo_at_which_workers_end_is_given_up(photos, share_out):
    (failure,) = share_out(photos[:1], load=partial(deadly, photos[0].path))
    assert isinstance(failure, Failure) and "ended 2 times" in failure.error


def deadly_at(photos, *, predictor, name):
    """A job that ends its process at one photo."""
    for photo in photos:
        if photo.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        yield photo, PhotoReport(str(photo.path))


def test_photos_beside_one_at_which_workers_end_are_done(photos, cluster):
    try:
        outcomes = list(spread(photos[:4], partial(deadly_at, name="01"), Path, address=cluster, workers=2))
    finally:
        ray.shutdown()
    assert sorted(Path(outcome.input).stem for outcome in outcomes) == [photo.name for photo in photos[:4]]
    (failure,) = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert Path(failure.input).stem == "01" and "ended 2 times" in failure.error


def test_a_worker_is_given_photos_to_read_and_infer_while_it_writes(photos, tmp_path, monkeypatch):
    """The first photo is written once the third is read: a worker with one photo at a time would never end."""
    third, read, write = threading.Event(), PhotoJob.read, PhotoJob.write

    def reading(self, photo, *arguments, **options):
        if photo == photos[2]:
            third.set()
        return read(self, photo, *arguments, **options)

    def writing(self, *arguments, **options):
        assert third.wait(60)
        return write(self, *arguments, **options)

    monkeypatch.setattr(PhotoJob, "read", reading)
    monkeypatch.setattr(PhotoJob, "write", writing)
    worker = _Worker(LOAD, partial(attempt_all, job=PhotoJob(tmp_path / "out", inference=COARSE)))
    with ThreadPoolExecutor(AT_ONCE) as calls:
        answers = list(calls.map(worker.infer, photos[:AT_ONCE]))
    assert sorted(photo.name for photo, _ in answers) == [photo.name for photo in photos[:AT_ONCE]]
    assert all(isinstance(outcome, PhotoReport) and Path(outcome.input) == photo.path for photo, outcome in answers)


def test_a_model_that_cannot_be_loaded_ends_the_job_with_its_own_sentence(photos, share_out, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    load = partial(load_model, "compact", device="cpu", weights=tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError) as alone:
        load()
    with pytest.raises(WeightsError) as shared:
        list(share_out(photos[:1], load=load))
    assert str(shared.value) == str(alone.value)


def test_a_cluster_of_this_machine_may_fail_to_start_once(photos, share_out, cluster, monkeypatch):
    begin, tried = ray.init, []

    def fail_first(address, **options):
        tried.append(address)
        if len(tried) == 1:
            raise RuntimeError("Timed out waiting for file gcs_server_port")
        return begin(cluster, **options)

    monkeypatch.setattr(ray, "init", fail_first)
    assert [type(outcome) for outcome in share_out(photos[:1], address=None)] == [PhotoReport]
    assert tried == ["local", "local"]


def test_frames_of_a_sequence_are_not_shared_out(photos, share_out, tmp_path):
    with pytest.raises(InputError, match=r"depend on one another; leave out cluster or sequence"):
        list(share_out(photos, job=PhotoJob(tmp_path, JobOptions(sequence=True))))


def test_an_address_is_told_from_the_flag():
    assert address_of("ray") is None
    assert address_of("ray://head:10001") == "ray://head:10001"
    for wrong in ("", "dask", "ray://", "ray:head"):
        with pytest.raises(InputError, match="give ray, for this machine alone"):
            address_of(wrong)


# Starts a cluster of its own; workers of the other one are not heard in a process that has left another.
def test_the_flag_goes_on_where_a_job_was_left(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--refine", "none", "--device", "cpu", "--json"]
    first = CliRunner().invoke(app, ["infer", "00.png", "01.png", "-o", "out", *flags])
    assert first.exit_code == 0, first.output
    shared = ["--cluster", "ray", "--workers", "2", "--existing", "skip"]
    done = CliRunner().invoke(app, ["infer", ".", "-o", "out", *shared, *flags])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)["results"]
    assert len(results) == len(photos)
    assert sorted(Path(r["input"]).stem for r in results if r["skipped"]) == ["00", "01"]


# The last one: threads of its client go on trying for a while, and no process of Ray starts well beside them.
def test_a_cluster_that_does_not_answer_is_one_sentence(photos, share_out, monkeypatch):
    monkeypatch.setattr("ray.util.client.worker.INITIAL_TIMEOUT_SEC", 0.1)  # else it tries for half a minute
    monkeypatch.setattr("ray.util.client.worker.MAX_TIMEOUT_SEC", 1.0)
    with pytest.raises(ProEngineError, match=r"There is no connection to the cluster ray://127\.0\.0\.1:9: "):
        list(share_out(photos, address="ray://127.0.0.1:9"))

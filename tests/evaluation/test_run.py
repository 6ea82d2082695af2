"""A run over items made up here, by a tiny model or from files, and what it leaves behind."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from pro_engine.datasets.sample import EvalSample
from pro_engine.errors import CancelledError, FileError, InputError
from pro_engine.evaluation.catalog import RUN_FIGURES, SCORES
from pro_engine.evaluation.options import EvalOptions
from pro_engine.evaluation.page import make_page
from pro_engine.evaluation.report import report_as_dict, save_report
from pro_engine.evaluation.run import ItemReport, SkippedItem, evaluate
from pro_engine.evaluation.summary import EvalReport
from pro_engine.inference.seams import SeamJumps
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.options import InferenceOptions


@dataclass(frozen=True)
class Samples:
    """A dataset of samples that are there, or errors to raise."""

    name: str
    items: tuple[EvalSample | Exception, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> EvalSample:
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


def scene(name: str = "one", group: str = "g", *, height: int = 128, width: int = 192) -> EvalSample:
    """Ground that comes nearer, with a near box of glass and a matte of it."""
    disparity = np.repeat(np.linspace(0.2, 1, height, dtype=np.float32)[:, None], width, axis=1)
    box = np.s_[height // 4 : 3 * height // 4, width // 4 : width // 2]
    disparity[box] = 2
    image = np.repeat((disparity * 100).astype(np.uint8)[..., None], 3, axis=2)
    inside = np.zeros((height, width), dtype=bool)
    inside[box] = True
    return EvalSample(
        name, group, image, disparity, np.ones((height, width), dtype=bool), True, inside,
        np.where(inside, 255, 0).astype(np.uint8), None,
    )  # fmt: skip


TILES = InferenceOptions(tiles=(2, 2))


def run(*datasets, predictor=None, **options) -> EvalReport:
    inference = options.pop("inference", TILES)
    folder, strict = options.pop("folder", None), options.pop("strict", False)
    outcomes = list(
        evaluate(datasets, predictor, EvalOptions(**options), inference=inference, folder=folder, strict=strict)
    )
    done = tuple(outcome for outcome in outcomes if isinstance(outcome, ItemReport))
    skipped = tuple(outcome for outcome in outcomes if isinstance(outcome, SkippedItem))
    return EvalReport({"model": "tiny"}, done, skipped)


@pytest.fixture(scope="module")
def predictor(tiny):
    return tiny.predictor()


def test_an_item_has_every_score_of_both_maps(predictor):
    (item,) = run(Samples("made", (scene(),)), predictor=predictor, ce=True).items
    assert set(item.refined) == set(item.coarse) == set(SCORES)
    assert item.refined != item.coarse
    assert set(item.run) == {"seconds", "peak_memory_mib", "ce", "seam_ratio"} <= set(RUN_FIGURES)
    assert 0 < item.run["ce"] < 1
    assert (item.width, item.height, item.tiles) == (192, 128, (2, 2))
    assert [panel.title for panel in item.panels] == [
        "photo", "truth", "coarse", "refined", "error of coarse", "error",
    ]  # fmt: skip
    picture = cv2.imdecode(np.frombuffer(item.panels[1].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (128, 192, 3)


def test_scores_need_their_truth(predictor):
    whole = scene()
    nothing = replace(whole, name="photo", disparity=None, valid=None, matte=None, transparent=None)
    matte = replace(nothing, name="matte", matte=whole.matte)
    soft = replace(whole, name="soft", exact_edges=False, matte=None, transparent=None)
    items = run(Samples("made", (nothing, matte, soft)), predictor=predictor).items
    assert items[0].refined == {} and "seam_ratio" in items[0].run and "ce" not in items[0].run
    assert set(items[1].refined) == {"matte_boundary_recall", "matte_recall", "matte_precision"}
    assert set(items[2].refined) == {"absrel", "delta1", "delta2", "delta3", "rmse", "log10", "silog", "r2"}
    titles = [[panel.title for panel in item.panels] for item in items]
    assert titles[0] == ["photo", "coarse", "refined"] and titles[1] == ["photo", "matte", "coarse", "refined"]


def test_without_refinement_there_is_one_map(predictor):
    only = run(Samples("made", (scene(),)), predictor=predictor, ce=True, inference=InferenceOptions(refine="none"))
    both = run(Samples("made", (scene(),)), predictor=predictor)
    (item,) = only.items
    assert item.coarse == {} and "ce" not in item.run and "seam_ratio" not in item.run
    assert item.refined == pytest.approx(both.items[0].coarse)
    assert [panel.title for panel in item.panels] == ["photo", "truth", "map", "error"]


def test_one_patch_has_no_borders(predictor):
    (item,) = run(
        Samples("made", (scene(),)), predictor=predictor, ce=True, inference=InferenceOptions(tiles=(1, 1))
    ).items
    assert "ce" not in item.run and "seam_ratio" not in item.run and item.coarse


def test_a_model_that_does_not_care_for_borders_is_consistent(tiny):
    predictor = tiny.predictor(tiny.CoarseOnly())
    (item,) = run(Samples("made", (scene(height=192, width=256),)), predictor=predictor, ce=True).items
    (blend,) = run(
        Samples("made", (scene(height=192, width=256),)), predictor=predictor, ce=True,
        inference=InferenceOptions(tiles=(2, 2), refine="blend"),
    ).items  # fmt: skip
    assert item.run["ce"] < 0.02 < blend.run["ce"]


def test_one_failure_does_not_stop_the_rest(predictor):
    thin = replace(scene("thin"), image=np.zeros((8, 8, 3), dtype=np.uint8))
    items = (FileError("disp0.pfm is damaged; copy it again."), thin, scene("good"), ZeroDivisionError("a bug"))
    report = run(Samples("made", items), predictor=predictor)
    assert [item.name for item in report.items] == ["good"]
    assert [skipped.name for skipped in report.skipped] == ["made 0", "thin", "made 3"]
    errors = [skipped.error for skipped in report.skipped]
    assert errors[0] == "disp0.pfm is damaged; copy it again."
    assert "at least 32 pixels" in errors[1]
    assert "Unexpected ZeroDivisionError: a bug; run again with --debug" in errors[2]
    with pytest.raises(ZeroDivisionError):
        run(Samples("made", items), predictor=predictor, strict=True)


def test_items_and_pictures_are_evenly_spread(predictor):
    items = tuple(scene(str(i)) for i in range(9))
    report = run(Samples("made", items), predictor=predictor, items=5, pictures=2)
    assert [item.name for item in report.items] == ["0", "2", "4", "6", "8"]
    assert [bool(item.panels) for item in report.items] == [True, False, False, False, True]
    one = run(Samples("made", items), predictor=predictor, items=1, pictures=0)
    assert [item.name for item in one.items] == ["0"] and one.items[0].panels == ()


def test_progress_may_cancel(predictor):
    told = []

    def progress(name, done, total):
        told.append((done, total))
        if done == 1:
            raise CancelledError("enough")

    with pytest.raises(CancelledError):
        list(evaluate([Samples("made", (scene(), scene()))], predictor, inference=TILES, progress=progress))
    assert told == [(0, 2), (1, 2)]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pfm", ".exr", ".tiff", ".disparity.npz"])
def test_maps_of_another_program(tmp_path, suffix):
    sample = scene("sub/one")
    save_depth(tmp_path / f"sub/one{suffix}", 3 * sample.disparity - 1, quantity="disparity")
    (item,) = run(Samples("made", (sample,)), predictions=tmp_path).items
    assert item.refined["absrel"] < 1e-5
    assert item.refined["boundary_f1"] == pytest.approx(1)
    assert item.coarse == {} and item.tiles is None and item.run == {}


def test_bare_maps_depth_and_grids(tmp_path):
    sample = scene()
    np.save(tmp_path / "bare.npy", sample.disparity.astype(np.float16))
    save_depth(tmp_path / "metres.npz", 1 / sample.disparity, quantity="depth", metadata={"tiles": [2, 2]})
    holes = sample.disparity.copy()
    holes[:16] = np.nan
    save_depth(tmp_path / "holes.npy", holes, quantity="disparity")
    save_depth(tmp_path / "flipped.npy", -sample.disparity, quantity="disparity")
    names = ("bare", "metres", "holes", "flipped", "missing")
    report = run(Samples("made", tuple(replace(sample, name=name) for name in names)), predictions=tmp_path)
    bare, metres, holey, flipped = report.items
    assert bare.refined["absrel"] < 1e-3 and metres.refined["absrel"] < 1e-5
    assert metres.tiles == (2, 2) and metres.run["seam_ratio"] > 0
    assert holey.notes == ("12.50% of the map is not finite and got its median.",)
    assert "scored as a constant" in flipped.notes[0] and flipped.refined["r2"] == pytest.approx(0, abs=1e-6)
    assert report.skipped[0].error.startswith("missing has no prediction; put missing.npy")


def test_two_maps_of_one_name_are_refused(tmp_path):
    for suffix in (".npy", ".pfm"):
        save_depth(tmp_path / f"one{suffix}", scene().disparity, quantity="disparity")
    report = run(Samples("made", (scene(),)), predictions=tmp_path)
    assert "several predictions, one.npy and one.pfm" in report.skipped[0].error


def test_saved_maps_score_the_same_again(predictor, tmp_path):
    first, second = Samples("a", (scene(),)), Samples("b", (scene(),))
    made = run(first, second, predictor=predictor, folder=tmp_path, save_maps=True)
    values, info = load_depth(tmp_path / "maps/b/one.npy")
    assert values.shape == (128, 192) and info.quantity == "disparity"
    again = run(first, second, predictions=tmp_path / "maps")
    assert [item.refined for item in again.items] == [item.refined for item in made.items]
    run(first, predictor=predictor, folder=tmp_path / "alone", save_maps=True)
    assert (tmp_path / "alone/maps/one.npy").exists()


def test_bad_requests(tiny, predictor, tmp_path):
    data = Samples("made", (scene(),))
    for arguments, message in (
        ({}, "Neither or both of a model"),
        ({"predictor": predictor, "predictions": tmp_path}, "Neither or both of a model"),
        ({"predictor": predictor, "save_maps": True}, "there is no folder"),
        ({"predictor": tiny.predictor(trained=False)}, "has no refiner of its own; give refine blend"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            run(data, **arguments)
    with pytest.raises(FileError, match="holds no map"):
        run(data, predictions=tmp_path)
    with pytest.raises(FileError, match="is not a folder"):
        run(data, predictions=tmp_path / "nowhere")
    for values in ({"items": 0}, {"items": True}, {"pictures": -1}, {"items": 2.0}):
        with pytest.raises(InputError, match="give a whole number of at least"):
            EvalOptions(**values)
    for values in ({"ce": True}, {"save_maps": True}):
        with pytest.raises(InputError, match="needs a model to run"):
            EvalOptions(predictions=tmp_path, **values)


def item(name: str, group: str, absrel: float, *, real: bool = True, dataset: str = "d", **run: float) -> ItemReport:
    scores = {"absrel": absrel, "rmse": 10 * absrel}
    return ItemReport(dataset, name, group, real, 10, 10, None, scores, {"absrel": 2 * absrel}, run)


def test_means_of_items_and_of_groups():
    items = (item("a", "x", 0.1, ce=1.0), item("b", "x", 0.3), item("c", "y", 0.6, real=False, peak_memory_mib=9.0))
    rows = {row.label: row for row in EvalReport({}, items, ()).rows()}
    assert list(rows) == ["d / x", "d / y", "all items", "all groups", "real items", "real groups"]
    assert rows["d / x"].refined == pytest.approx({"absrel": 0.2, "rmse": 2.0})
    assert rows["d / x"].run == {"ce": 1.0}
    assert rows["d / y"].run == {}
    assert rows["all items"].refined == pytest.approx({"absrel": 1 / 3})
    assert rows["all groups"].refined == pytest.approx({"absrel": 0.4})
    assert rows["all groups"].coarse == pytest.approx({"absrel": 0.8})
    assert rows["real items"].refined == rows["real groups"].refined == pytest.approx({"absrel": 0.2})
    assert (rows["all items"].count, rows["all groups"].count) == (3, 2)
    assert [row.label for row in EvalReport({}, items[:2], ()).rows()] == ["d / x"]


def test_seams_of_all_pictures():
    jumps = (SeamJumps(2.0, 1.0), None, SeamJumps(3.0, 9.0))
    items = tuple(replace(item(str(i), "x", 0.1), seams=jump) for i, jump in enumerate(jumps))
    assert EvalReport({}, items, ()).seams() == {
        "pictures": 2, "ratio_total": 0.5, "ratio_median": pytest.approx((2 + 1 / 3) / 2),
    }  # fmt: skip
    assert EvalReport({}, items[1:2], ()).seams() == {}


class Reader(HTMLParser):
    """Collects tags, their attributes and texts; complains about tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_needs_nothing_else(predictor, tmp_path):
    odd = scene('<b>"odd" & co</b>')
    report = run(Samples("made", (odd, FileError("<i>gone</i>"))), predictor=predictor, ce=True)
    _, path = save_report(tmp_path / "new" / "out", report)
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    links = [v for _, attributes in reader.found for k, v in attributes.items() if k in ("src", "href")]
    assert len(links) == 7
    assert all(link.startswith(("data:image/jpeg;base64,", "#item-")) for link in links)
    assert "http" not in text and "@import" not in text and "url(" not in text
    photo = base64.b64decode(next(link for link in links if link.startswith("data:")).partition(",")[2])
    assert cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR).shape == (128, 192, 3)
    assert '<b>"odd" & co</b>' in reader.texts and "<i>gone</i>" in reader.texts
    assert f"{report.items[0].refined['absrel']:.3f}" in reader.texts
    for figure in (*SCORES.values(), RUN_FIGURES["ce"]):
        assert figure.text in reader.texts


def test_the_page_says_better_and_worse():
    better, worse = item("a", "x", 0.1), item("b", "x", 0.1)
    worse = replace(worse, coarse={"absrel": 0.05})
    same = replace(better, coarse={"absrel": 0.1})
    high = replace(better, refined={"delta1": 0.9}, coarse={"delta1": 0.8})
    for one, wanted in ((better, "better"), (worse, "worse"), (high, "better"), (same, None)):
        page = make_page(EvalReport({}, (one,), ()))
        assert {word for word in ("better", "worse") if f'class="coarse {word}"' in page} == ({wanted} - {None})


def test_json_holds_everything_and_no_nan(predictor, tmp_path):
    report = run(Samples("made", (scene(), FileError("gone"))), predictor=predictor)
    spoilt = replace(report.items[0], run={"ce": math.nan})
    path, _ = save_report(tmp_path, EvalReport({"tiles": (2, 2)}, (spoilt,), report.skipped, stopped=True))
    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    assert found["items"][0]["refined"] == report.items[0].refined
    assert found["items"][0]["run"] == {"ce": None}
    assert found["items"][0]["seams"]["border"] == pytest.approx(report.items[0].seams.border)
    assert "panels" not in found["items"][0]
    assert found["skipped"] == [{"dataset": "made", "name": "made 1", "error": "gone"}]
    assert found["summary"][0]["refined"]["absrel"] == found["items"][0]["refined"]["absrel"]
    assert found["stopped"] is True and found["about"] == {"tiles": [2, 2]}
    assert set(found["figures"]) == set(SCORES) | set(RUN_FIGURES)
    assert found["seams"]["pictures"] == 1


def test_an_empty_run_is_reported(tmp_path):
    data, page = save_report(tmp_path, EvalReport({}, (), (SkippedItem("d", "n", "why"),)))
    assert json.loads(data.read_text())["summary"] == []
    assert "why" in page.read_text(encoding="utf-8")


def test_report_as_dict_is_plain(predictor):
    report = run(Samples("made", (scene(),)), predictor=predictor)
    assert json.loads(json.dumps(report_as_dict(report))) == report_as_dict(report)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="choose another path"):
        save_report(tmp_path / "file" / "out", EvalReport({}, (), ()))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["file"]

"""Names of results never clash, and what arguments stand for."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pro_engine.jobs.photos import find_photos, unique_names

parts = st.sampled_from(["a", "A", "b", "a_2", "b_a", "é", "e\u0301"])


@given(st.lists(st.tuples(parts, parts, st.sampled_from([".jpg", ".png"])), max_size=12, unique=True))
def test_names_are_unique_on_any_file_system(files):
    names = unique_names([Path(folder, stem + suffix) for folder, stem, suffix in files])
    assert len({name.casefold() for name in names}) == len(files)


def test_a_name_without_a_clash_is_the_stem():
    paths = [Path("one/image.png"), Path("two/image.png"), Path("three/view.png")]
    assert unique_names(paths) == ["one_image", "two_image", "view"]


def test_arguments(tmp_path):
    for name in ("b.jpg", "a.PNG", "a.preview.png", "a.depth.exr", ".hidden.png", "note.txt", "[1].jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    found, failures = find_photos([str(tmp_path), str(tmp_path / "b.jpg"), str(tmp_path / "nowhere.tif")])
    assert [photo.path.name for photo in found] == ["[1].jpg", "a.PNG", "b.jpg", "nowhere.tif"]
    assert failures == []
    found, failures = find_photos([str(tmp_path / "[1].jpg"), str(tmp_path / "a.preview.png")])
    assert [photo.path.name for photo in found] == ["[1].jpg", "a.preview.png"]
    found, failures = find_photos([str(tmp_path / "empty"), str(tmp_path / "*.tif")])
    assert found == []
    assert [failure.error.split()[0] for failure in failures] == [str(tmp_path / "empty"), "No"]

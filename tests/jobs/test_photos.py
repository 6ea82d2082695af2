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


def test_names_mirror_the_tree_of_the_photos():
    paths = [
        Path("scan1/cam1/0001.png"),
        Path("scan1/cam2/0001.png"),
        Path("scan2/cam1/0001.png"),
        Path("scan2/top.png"),
    ]
    wanted = ["scan1/cam1/0001", "scan1/cam2/0001", "scan2/cam1/0001", "scan2/top"]
    assert unique_names(paths) == wanted
    assert unique_names(paths[:1]) == ["0001"]
    assert unique_names([Path("in/a.png"), Path("in/more/a.png")]) == ["a", "more/a"]


def test_files_that_are_not_there_do_not_count(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    assert unique_names([tmp_path / "in" / "a.png", tmp_path / "gone.png"]) == ["a", "gone"]


def test_names_that_clash_in_a_folder_do_not_hang_on_the_order():
    paths = [Path("in/x.jpg"), Path("in/x.png"), Path("in/X.bmp"), Path("in/y.png"), Path("in/x_jpg.png")]
    wanted = ["x_jpg_2", "x_png", "X_bmp", "y", "x_jpg"]
    assert unique_names(paths) == wanted
    assert unique_names(paths[::-1]) == wanted[::-1]
    assert unique_names([]) == []


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


def test_numbers_in_names_count_as_such(tmp_path):
    names = [f"frame{number}.png" for number in (1, 2, 3, 10, 11, 20)] + ["frame.png", "x007.png", "x7a.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    for argument in (tmp_path, tmp_path / "*.png"):
        found, _ = find_photos([str(argument)])
        assert [photo.path.name for photo in found] == names


def test_links_to_one_file_are_photos_of_their_own(tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"x")
    (tmp_path / "two.jpg").symlink_to(tmp_path / "one.jpg")
    found, _ = find_photos([str(tmp_path), str(tmp_path / "one.jpg"), f"{tmp_path}/./two.jpg"])
    assert [photo.name for photo in found] == ["one", "two"]


def test_textures_of_earlier_meshes_are_no_photos(tmp_path):
    for name in ("a.jpg", "a.mesh_texture.jpg", "b.mesh_texture.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [photo.path.name for photo in find_photos([str(tmp_path)])[0]] == ["a.jpg"]

"""Opening a folder: its kind is told, what is missing or broken is named file by file, and no pixel is read."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFile

from pro_engine.datasets import DATASETS, DatasetError, open_dataset
from pro_engine.errors import FileError, InputError

FolderOf = Callable[[str], Path]
EVERY_KIND = pytest.mark.parametrize("kind", list(DATASETS))


@EVERY_KIND
def test_the_kind_is_told(kind: str, folder_of: FolderOf) -> None:
    assert open_dataset(folder_of(kind)).name == kind


def test_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileError) as caught:
        open_dataset(tmp_path)
    assert all(f"  {kind}: " in str(caught.value) for kind in DATASETS)


def test_two_kinds_in_one_folder(flat: Path, middlebury2014: Path) -> None:
    shutil.copytree(middlebury2014, flat, dirs_exist_ok=True)
    with pytest.raises(FileError, match="middlebury2014 and flat"):
        open_dataset(flat)
    assert len(open_dataset(flat, "middlebury2014")) == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a folder"):
        open_dataset(tmp_path / "lost")


def test_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'kitti'.*unrealstereo4k"):
        open_dataset(tmp_path, "kitti")


@EVERY_KIND
def test_an_empty_folder_of_a_kind(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="The published form is") as caught:
        open_dataset(tmp_path, kind)
    assert kind in str(caught.value)


@EVERY_KIND
def test_opening_reads_no_pixels(kind: str, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(kind)

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("pixels were read")

    for module, name in ((ImageFile.ImageFile, "load"), (np, "fromfile"), (np, "load"), (np.lib.format, "read_array")):
        monkeypatch.setattr(module, name, refuse)
    dataset = open_dataset(folder, kind)
    with pytest.raises((AssertionError, FileError), match="pixels were read"):
        dataset[0]


@EVERY_KIND
def test_nothing_is_kept(kind: str, folder_of: FolderOf) -> None:
    dataset = open_dataset(folder_of(kind), kind)
    first, second = dataset[0], dataset[0]
    assert first.image is not second.image
    np.testing.assert_array_equal(first.image, second.image)


@EVERY_KIND
def test_workers_can_be_sent_a_dataset(kind: str, folder_of: FolderOf) -> None:
    dataset = open_dataset(folder_of(kind), kind)
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(copy) == len(dataset)
    np.testing.assert_array_equal(copy[0].image, dataset[0].image)


@EVERY_KIND
def test_past_the_end(kind: str, folder_of: FolderOf) -> None:
    dataset = open_dataset(folder_of(kind), kind)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def page(path: Path) -> None:
    path.write_bytes(b"<html>404 Not Found</html>")


U4K, BALANCED = "00003", "train/balanced/Bottle"
XML = f"{BALANCED}/calib_00-02.xml"
DAMAGE = [
    ("scenes", "scene_000001_0.npz", remove, "missing"),
    ("scenes", "scene_000001_0.jpg", remove, "missing"),
    ("scenes", "scene_000001_0.npz", lambda p: p.write_bytes(p.read_bytes()[:500]), "cut short (500 bytes)"),
    ("scenes", "scene_000001_0.jpg", empty, "empty (0 bytes)"),
    ("unrealstereo4k", f"{U4K}/Image0/00012.png", cut, "without the end of a PNG picture"),
    ("unrealstereo4k", f"{U4K}/Image0/00012.png", page, "no PNG picture (26 bytes)"),
    ("unrealstereo4k", f"{U4K}/Disp0/00012.npy", cut, "cut short: 217 bytes instead of 224"),
    ("unrealstereo4k", f"{U4K}/Disp0/00012.npy", page, "no .npy file (26 bytes)"),
    ("unrealstereo4k", f"{U4K}/Disp0/00012.npy", remove, "missing"),
    ("unrealstereo4k", f"{U4K}/Extrinsics0/00012.txt", remove, "missing"),
    ("unrealstereo4k", f"{U4K}/Extrinsics1/00012.txt", empty, "empty (0 bytes)"),
    ("middlebury2014", "Piano-perfect/im0.png", remove, "missing"),
    ("middlebury2014", "Piano-perfect/disp0.pfm", cut, "cut short: 99 bytes instead of 106"),
    ("middlebury2014", "Piano-perfect/disp0.pfm", page, "no .pfm file (26 bytes)"),
    ("middlebury2014", "Piano-perfect/calib.txt", remove, "missing"),
    ("eth3d", "pipes/ground_truth_depth/dslr_images/DSC_0634.JPG", cut, "89 bytes instead of 96"),
    ("eth3d", "pipes/ground_truth_depth/dslr_images/DSC_0634.JPG", remove, "missing"),
    ("eth3d", "pipes/images/dslr_images/DSC_0634.JPG", remove, "missing"),
    ("eth3d", "pipes/images/dslr_images/DSC_0634.JPG", page, "no JPEG picture (26 bytes)"),
    ("eth3d", "two_view_training/forest_1s/im0.png", remove, "missing"),
    ("eth3d", "two_view_training_gt/forest_1s/disp0GT.pfm", remove, "missing"),
    ("eth3d", "two_view_training_gt/forest_1s/mask0nocc.png", remove, "missing"),
    ("booster", f"{BALANCED}/disp_00.npy", cut, "cut short: 217 bytes instead of 224"),
    ("booster", f"{BALANCED}/mask_cat.png", remove, "missing"),
    ("booster", f"{BALANCED}/mask_00.png", remove, "missing"),
    ("booster", XML, remove, "missing"),
    ("booster", f"{BALANCED}/camera_00/im1.png", empty, "empty (0 bytes)"),
    ("nuscenes", "v1.0-mini/ego_pose.json", remove, "missing"),
    ("nuscenes", "samples/CAM_FRONT/n015__CAM_FRONT__2.jpg", remove, "missing"),
    ("nuscenes", "samples/LIDAR_TOP/n015__LIDAR_TOP__1.pcd.bin", cut, "no whole number of points of 20 bytes"),
    ("dis5k", "DIS-VD/gt/a#1.png", remove, "missing"),
    ("dis5k", "DIS-TE1/im/b.jpg", remove, "missing"),
    ("flat", "room/depth.npz", remove, "missing"),
    ("flat", "hair/alpha.png", cut, "without the end of a PNG picture"),
    ("flat", "view/image.png", remove, "missing"),
]


@pytest.mark.parametrize(("kind", "file", "damage", "said"), DAMAGE)
def test_damage_is_named(
    kind: str, file: str, damage: Callable[[Path], object], said: str, folder_of: FolderOf
) -> None:
    folder = folder_of(kind)
    damage(folder / file)
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder, kind)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"  {file}: ") and lines[0].endswith(said)
    assert [path for path, _ in caught.value.faults] == [folder / file]
    assert "1 file is at fault" in str(caught.value) and "docs/datasets.md" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("scenes", "scene_000001_0.jpg"),
        ("unrealstereo4k", f"{U4K}/Image0/00012.png"),
        ("middlebury2014", "Piano-perfect/disp0.pfm"),
        ("eth3d", "pipes/ground_truth_depth/dslr_images/DSC_0634.JPG"),
        ("booster", f"{BALANCED}/disp_00.npy"),
        ("nuscenes", "samples/LIDAR_TOP/n015__LIDAR_TOP__1.pcd.bin"),
        ("dis5k", "DIS-VD/gt/a#1.png"),
        ("flat", "room/depth.npz"),
    ],
)
def test_damage_after_opening_is_named(kind: str, file: str, folder_of: FolderOf) -> None:
    folder = folder_of(kind)
    dataset = open_dataset(folder, kind)
    path = folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])
    with pytest.raises(FileError, match=Path(file).name.replace(".", r"\.")):
        dataset[0]


def test_the_sizes_are_named_while_reading(middlebury2014: Path) -> None:
    dataset = open_dataset(middlebury2014)
    cut(middlebury2014 / "Piano-perfect/disp0.pfm")
    with pytest.raises(DatasetError, match=r"disp0\.pfm: cut short: 99 bytes instead of 106; copy or download"):
        dataset[0]


def test_many_faults_are_listed_and_counted(dis5k: Path) -> None:
    for number in range(30):
        (dis5k / f"DIS-VD/gt/{number:02d}.png").write_bytes((dis5k / "DIS-VD/gt/a#1.png").read_bytes())
    with pytest.raises(DatasetError) as caught:
        open_dataset(dis5k)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert lines[0] == "  DIS-VD/im/00.jpg: missing"
    assert len(lines) == 21 and lines[20] == "  ... and 10 more"
    assert "30 files are at fault" in str(caught.value) and len(caught.value.faults) == 30


def test_a_raw_of_the_wrong_size(unrealstereo4k: Path) -> None:
    picture = unrealstereo4k / U4K / "Image0/00012.png"
    picture.with_suffix(".raw").write_bytes(bytes(72))
    picture.unlink()
    with pytest.raises(DatasetError, match=r"Image0/00012\.raw: 72 bytes instead of 24883200"):
        open_dataset(unrealstereo4k)


@pytest.mark.parametrize(
    ("kind", "file", "text", "said"),
    [
        ("unrealstereo4k", f"{U4K}/Extrinsics0/00012.txt", "1 2 3\n", "a line of 9"),
        ("unrealstereo4k", f"{U4K}/Extrinsics1/00012.txt", None, "focal length of 0"),
        ("middlebury2014", "Piano-perfect/calib.txt", "doffs=20\nbaseline=250\n", "no line for cam0"),
        ("middlebury2014", "Piano-perfect/calib.txt", "cam0=[8 0 1]\ndoffs=20\nbaseline=250\n", "no number"),
        ("middlebury2014", "Piano-perfect/calib.txt", "cam0=[8 0 2; 0 8 1; 0 0 1]\ndoffs=0\nbaseline=0\n", "above 0"),
        ("booster", XML, "<?xml version='1.0'?><opencv_storage><f>1</f></opencv_storage>", "no proj_matL"),
        ("booster", XML, "<?xml version='1.0'?><opencv", "calib_00-02.xml"),
    ],
)
def test_a_calibration_that_is_none(kind: str, file: str, text: str | None, said: str, folder_of: FolderOf) -> None:
    folder = folder_of(kind)
    (folder / file).write_text(text if text is not None else (folder / U4K / "Extrinsics0/00012.txt").read_text())
    dataset = open_dataset(folder, kind)
    with pytest.raises(FileError, match=said) as caught:
        dataset[0]
    assert Path(file).parent.name in str(caught.value)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("sample_data.json", lambda text: text[:-40], r"sample_data\.json: cut short: \d+ bytes without the end"),
        ("scene.json", lambda text: "{}", r"scene\.json: not a JSON list"),
        ("ego_pose.json", lambda text: text.replace("e2", "e9"), "e2"),
        ("calibrated_sensor.json", lambda text: text.replace('"rotation"', '"turn"'), "rotation"),
    ],
)
def test_tables_that_do_not_fit(nuscenes: Path, file: str, change: Callable[[str], str], said: str) -> None:
    path = nuscenes / "v1.0-mini" / file
    path.write_text(change(path.read_text()))
    with pytest.raises(FileError, match=said):
        open_dataset(nuscenes, "nuscenes")


def test_tables_longer_than_one_read(nuscenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pro_engine.datasets.nuscenes._CHUNK", 7)
    assert len(open_dataset(nuscenes)) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("name,kind\nroom,depth\n", "no column group, real_synthetic, boundary, alpha"),
        ("name,kind,group,real_synthetic,boundary,alpha\nview,metres,g,real,0,0\n", "'metres', not one of depth"),
    ],
)
def test_an_index_that_does_not_fit(flat: Path, line: str, said: str) -> None:
    (flat / "index.csv").write_text(line)
    with pytest.raises(DatasetError, match=said):
        open_dataset(flat)


def test_depth_of_another_kind_than_it_says(flat: Path) -> None:
    np.savez(flat / "room/depth.npz", kind="metres", depth=np.ones((2, 3), np.float32))
    with pytest.raises(DatasetError, match=r"depth\.npz: kind is 'metres'"):
        open_dataset(flat)[0]


def test_a_mask_of_16_bits(dis5k: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((4, 6), 60000, np.uint16)).save(dis5k / "DIS-VD/gt/a#1.png")
    with pytest.raises(DatasetError, match="not of 8 bits"):
        open_dataset(dis5k)[0]

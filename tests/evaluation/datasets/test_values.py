"""What is read from each published form, against numbers worked out by hand from the bytes of the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pro_engine.datasets import EvalSample, open_dataset
from pro_engine.datasets import scenes as scene_reader
from pro_engine.datasets.nuscenes import rotation
from pro_engine.datasets.unrealstereo4k import HEIGHT, WIDTH, list_views, read_view

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def only(folder: Path, kind: str) -> EvalSample:
    dataset = open_dataset(folder, kind)
    assert (dataset.name, len(dataset)) == (kind, 1)
    return dataset[0]


def known(sample: EvalSample) -> tuple[np.ndarray, np.ndarray]:
    """Disparity and where it is valid, once they are in the form that is promised."""
    disparity, valid = sample.disparity, sample.valid
    assert disparity is not None and valid is not None
    assert (disparity.dtype, valid.dtype, valid.shape) == (np.float32, np.bool_, disparity.shape)
    assert (disparity[~valid] == 0).all()
    return disparity, valid


def test_scenes(scenes: Path) -> None:
    sample = only(scenes, "scenes")
    disparity, valid = known(sample)
    assert (sample.name, sample.group, sample.real, sample.exact_edges) == ("scene_000001_0", "street", False, True)
    assert disparity[1, 1] == 0.5
    assert disparity[0, 0] == 0 and valid.all()  # sky is known to be infinitely far
    assert disparity[3, 5] == 50  # nothing counts as nearer than 2 cm
    assert sample.transparent is not None and np.argwhere(sample.transparent).tolist() == [[1, 2]]
    camera = sample.intrinsics
    assert camera is not None and (camera.fx, camera.fy, camera.cx, camera.cy) == (5, 6, 2.5, 1.5)
    assert (camera.width, camera.height) == (6, 4)


def test_scenes_may_mark_what_is_infinitely_far_but_no_sky(scenes: Path) -> None:
    assert only(scenes, "scenes").backdrop is None
    labels = next(scenes.glob("*.npz"))
    with np.load(labels) as stored:
        np.savez(labels, **stored, backdrop=np.isinf(stored["depth"]).astype(np.uint8))
    backdrop = only(scenes, "scenes").backdrop
    assert backdrop is not None and np.argwhere(backdrop).tolist() == [[0, 0]]


def test_scenes_for_training_are_those_of_the_evaluation(scenes: Path) -> None:
    sample = only(scenes, "scenes")
    image, disparity, transparent = scene_reader.read_rendered(scene_reader.list_rendered([scenes])[0])
    np.testing.assert_array_equal(image, sample.image)
    np.testing.assert_array_equal(disparity, known(sample)[0])
    np.testing.assert_array_equal(transparent, sample.transparent)


def test_unrealstereo4k(unrealstereo4k: Path) -> None:
    sample = only(unrealstereo4k, "unrealstereo4k")
    disparity, valid = known(sample)
    assert (sample.name, sample.group, sample.real, sample.exact_edges) == ("00003/00012", "00003", False, True)
    np.testing.assert_array_equal(sample.image, PIXELS)  # the alpha of 7 is dropped, not laid over white
    # baseline 0.3 m times 100 px: 20 px is 1.5 m; 0 and inf are unknown; 0.0001 px is 300 km, the dome of the sky
    np.testing.assert_allclose(disparity[0], [1 / 1.5, 1 / 3, 0, 0, 0, 1 / 0.75], rtol=1e-6)
    assert valid[0].tolist() == [True, True, False, False, True, True]
    assert sample.intrinsics is not None and sample.intrinsics.fx == 100


def test_unrealstereo4k_views_for_training(unrealstereo4k: Path) -> None:
    (left,) = list_views(unrealstereo4k)
    assert left.name == "00003/00012"
    assert left.disparity == unrealstereo4k / "00003/Disp0/00012.npy"
    image, disparity, valid, transparent = read_view(left)
    np.testing.assert_array_equal(image, PIXELS)
    assert (disparity.dtype, valid.dtype, transparent.dtype) == (np.float32, np.bool_, np.bool_)
    assert disparity[0, 0] == pytest.approx(1 / 1.5) and not transparent.any()


def test_unrealstereo4k_split(unrealstereo4k: Path) -> None:
    (unrealstereo4k / "splits").mkdir()
    line = "/{0}/Image0/00012.png /{0}/Image1/00012.png /{0}/Disp0/00012.npy /{0}/Disp1/00012.npy\n"
    (unrealstereo4k / "splits/test.txt").write_text(line.format("00003"))
    (unrealstereo4k / "splits/train.txt").write_text(line.format("00004"))
    (unrealstereo4k / "00003/Disp0/00013.npy").write_bytes(b"not in the list")
    assert [view.name for view in list_views(unrealstereo4k, split="test")] == ["00003/00012"]
    assert len(open_dataset(unrealstereo4k, "unrealstereo4k")) == 1
    with pytest.raises(scene_reader.FileError, match=r"00004/Image0/00012\.png: missing"):
        list_views(unrealstereo4k, split="train")


def test_unrealstereo4k_raw(unrealstereo4k: Path) -> None:
    """The conversion that the authors recommend leaves bytes in OpenCV's order, row by row."""
    scene = unrealstereo4k / "00003"
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[0, 1], pixels[1, 0] = (1, 2, 3), (4, 5, 6)
    (scene / "Image0/00012.raw").write_bytes(pixels.tobytes())
    (scene / "Image0/00012.png").unlink()
    np.save(scene / "Disp0/00012.npy", np.full((HEIGHT, WIDTH), 20, np.float32))
    image, disparity, _, _ = read_view(list_views(unrealstereo4k)[0])
    assert image.shape == (2160, 3840, 3) and disparity.shape == (2160, 3840)
    assert image[0, 1].tolist() == [3, 2, 1]
    assert image[1, 0].tolist() == [6, 5, 4]


def test_middlebury2014(middlebury2014: Path) -> None:
    sample = only(middlebury2014, "middlebury2014")
    disparity, valid = known(sample)
    assert (sample.name, sample.group, sample.real, sample.exact_edges) == ("Piano-perfect", "perfect", True, True)
    np.testing.assert_array_equal(sample.image, PIXELS)
    # baseline 0.25 m times 800 px = 200; the first value is of the top row although the file starts with the last
    assert disparity[0, 0] == pytest.approx(20 / 200) and disparity[3, 5] == pytest.approx((23 + 20) / 200)
    assert np.argwhere(~valid).tolist() == [[2, 3]]
    assert sample.intrinsics is not None and sample.intrinsics.cx == 2.5


def test_eth3d_photo(eth3d: Path) -> None:
    dataset = open_dataset(eth3d, "eth3d")
    assert len(dataset) == 2
    sample = dataset[0]
    disparity, valid = known(sample)
    assert (sample.name, sample.group, sample.exact_edges) == ("pipes/DSC_0634", "pipes", False)
    assert disparity[0, 0] == 1 and disparity[3, 5] == pytest.approx(1 / 24)
    assert np.argwhere(~valid).tolist() == [[1, 1]]
    assert sample.image.shape == (4, 6, 3)


def test_eth3d_photo_is_not_turned(eth3d: Path) -> None:
    """Depth lies on the grid of the sensor, even where EXIF wants the photo upright."""
    photo = eth3d / "pipes/images/dslr_images/DSC_0634.JPG"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = photo.read_bytes()
    photo.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert open_dataset(eth3d, "eth3d")[0].image.shape == (4, 6, 3)


def test_eth3d_pair(eth3d: Path) -> None:
    sample = open_dataset(eth3d, "eth3d")[1]
    disparity, valid = known(sample)
    assert (sample.name, sample.group) == ("forest_1s", "two_view")
    assert disparity[3, 3] == pytest.approx(8 / 200)
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1]]  # inf, and black in the mask; hidden pixels are known
    np.testing.assert_array_equal(sample.image, np.repeat(PIXELS[..., :1], 3, axis=-1))


def test_booster(booster: Path) -> None:
    dataset = open_dataset(booster, "booster")
    assert [dataset[i].name for i in range(len(dataset))] == ["Bottle/im0", "Bottle/im1"]
    sample = dataset[1]
    disparity, valid = known(sample)
    assert disparity[3, 3] == pytest.approx(40 / (0.08 * 1000))  # 80 mm, 1000 px: 2 m
    assert np.argwhere(~valid).tolist() == [[0, 0], [0, 1]]
    assert sample.transparent is not None
    assert sample.transparent[0].tolist() == [False, False, True, True, False, False]
    assert sample.intrinsics is not None and (sample.intrinsics.fx, sample.intrinsics.cy) == (1000, 1.5)


@pytest.mark.parametrize("part", ["", "train", "train/balanced"])
def test_booster_from_any_folder_above_the_scenes(booster: Path, part: str) -> None:
    assert len(open_dataset(booster / part, "booster")) == 2


def test_nuscenes(nuscenes: Path) -> None:
    sample = only(nuscenes, "nuscenes")
    disparity, valid = known(sample)
    assert (sample.name, sample.group) == ("scene-0061/n015__CAM_FRONT__2", "scene-0061")
    # 2 m right and 0.4 m below at 10 m: 50 * 0.2 + 20 and 50 * 0.04 + 10; the farther point of the ray is hidden
    assert np.argwhere(valid).tolist() == [[12, 30]]
    assert disparity[12, 30] == pytest.approx(0.1, rel=1e-5)
    assert disparity.shape == (20, 40) and not sample.exact_edges
    assert sample.intrinsics is not None and sample.intrinsics.fx == 50


def test_nuscenes_from_the_folder_of_the_tables(nuscenes: Path) -> None:
    assert only(nuscenes / "v1.0-mini", "nuscenes").group == "scene-0061"


def test_a_quaternion_turns_as_opencv_does() -> None:
    axis = np.array([1.0, -2.0, 2.0]) / 3
    quaternion = [np.cos(0.35), *(np.sin(0.35) * axis)]
    np.testing.assert_allclose(rotation(quaternion), cv2.Rodrigues(0.7 * axis)[0], atol=1e-12)


def test_dis5k(dis5k: Path) -> None:
    dataset = open_dataset(dis5k, "dis5k")
    assert [(dataset[i].name, dataset[i].group) for i in (0, 1)] == [("DIS-VD/a#1", "DIS-VD"), ("DIS-TE1/b", "DIS-TE1")]
    sample = dataset[0]
    assert sample.disparity is None and sample.valid is None
    assert sample.matte is not None and sample.matte[3].tolist() == [0, 0, 64, 200, 255, 255]
    assert len(open_dataset(dis5k / "DIS-TE1", "dis5k")) == 1


def test_dis5k_of_one_bit(dis5k: Path) -> None:
    matte = np.array([[0, 0, 0, 255, 255, 255]] * 4, np.uint8)
    cv2.imwrite(str(dis5k / "DIS-VD/gt/a#1.png"), matte, [cv2.IMWRITE_PNG_BILEVEL, 1])
    np.testing.assert_array_equal(open_dataset(dis5k, "dis5k")[0].matte, matte)


def test_flat(flat: Path) -> None:
    dataset = open_dataset(flat, "flat")
    room, stones, hair, view = (dataset[i] for i in range(len(dataset)))
    assert [s.group for s in (room, stones, hair, view)] == ["nyu", "mb", "matte", "photo"]
    np.testing.assert_array_equal(room.image, PIXELS)
    assert known(room)[0].tolist() == [[0.25, 0, 0], [0.5, 0.125, 0]]
    assert room.intrinsics is not None and (room.intrinsics.fx, room.intrinsics.cx) == (5, 2.5)
    assert known(stones)[0].tolist() == [[4, 0, 0], [2, 8, 0]]
    assert (room.real, room.exact_edges, stones.real, stones.exact_edges) == (True, False, False, True)
    assert stones.transparent is not None and np.argwhere(stones.transparent).tolist() == [[0, 1], [1, 2]]
    assert hair.disparity is None and hair.matte is not None and hair.matte[0, 2] == 64
    assert view.disparity is None and view.matte is None


@pytest.mark.parametrize(
    ("kind", "labels", "write"),
    [
        ("middlebury2014", "Piano-perfect/disp0.pfm", lambda p: p.write_bytes(b"Pf\n5 4\n-1\n" + bytes(80))),
        ("booster", "train/balanced/Bottle/mask_cat.png", lambda p: cv2.imwrite(str(p), np.zeros((5, 6), np.uint8))),
        ("dis5k", "DIS-VD/gt/a#1.png", lambda p: cv2.imwrite(str(p), np.zeros((6, 4), np.uint8))),
        ("unrealstereo4k", "00003/Disp0/00012.npy", lambda p: np.save(p, np.ones((4, 5), np.float32))),
    ],
)
def test_labels_of_another_size_than_the_picture(
    kind: str, labels: str, write: Callable[[Path], object], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    write(folder / labels)
    dataset = open_dataset(folder, kind)
    with pytest.raises(scene_reader.FileError, match=labels.rpartition("/")[2]):
        dataset[0]

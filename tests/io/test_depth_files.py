"""Depth maps in every format: values, unit and metadata come back; plain files of sensors are understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from pro_engine.errors import FileError, InputError
from pro_engine.io import depth_formats
from pro_engine.io.atomic import atomic_path
from pro_engine.io.depth import DEPTH_SUFFIXES, DepthInfo, load_depth, save_depth
from pro_engine.io.png import write_grey16
from pro_engine.types import FloatMap, Plate

Quantity = Literal["depth", "disparity"]

SIZES = [(1, 1), (1, 7), (7, 1), (5, 7), (33, 64)]
FLOAT_SUFFIXES = sorted(DEPTH_SUFFIXES - {".png"})
METADATA = {"model": "compact", "scale": 0.1 + 0.2, "text": 'ü "quoted"\nnew line 距離', "list": [1, None, {"a": True}]}


def values_of(size: tuple[int, int], quantity: Quantity = "depth") -> FloatMap:
    """Random values and every kind of float that must survive: NaN (two kinds), infinity, -0, tiny and huge."""
    values = np.random.default_rng(size[1]).random(size, dtype=np.float32) * 20 + 0.5
    special = [np.nan, np.inf, 0.0, 1e-42, 3e38]
    if quantity == "disparity":
        special += [-0.0, -np.inf, -5.0]
    flat = values.reshape(-1)
    count = max(0, min(len(special), flat.size - 2))
    flat[:count] = special[:count]
    if flat.size > 20:
        flat[-1:].view(np.uint32)[:] = 0x7FC01234
    return values


def bits(values: FloatMap) -> np.ndarray[Any, np.dtype[np.uint32]]:
    assert values.dtype == np.float32
    return np.ascontiguousarray(values).view(np.uint32)


@pytest.mark.parametrize("suffix", FLOAT_SUFFIXES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quantity", ["depth", "disparity"])
def test_float_formats_are_exact_to_the_bit(
    tmp_path: Path, suffix: str, size: tuple[int, int], quantity: Quantity
) -> None:
    values = values_of(size, quantity)
    path = tmp_path / f"map{suffix}"
    save_depth(path, values, quantity=quantity, metadata=METADATA)
    loaded, info = load_depth(path)
    assert np.array_equal(bits(loaded), bits(values))
    assert info == DepthInfo(quantity, "m" if quantity == "depth" else "relative", METADATA)


@pytest.mark.parametrize("suffix", sorted(DEPTH_SUFFIXES))
def test_any_layout_and_width_of_floats(tmp_path: Path, suffix: str) -> None:
    base = np.round(np.random.default_rng(0).random((8, 10)) * 5000 + 500) / 1000
    for values in (base[::2, ::-3], np.asfortranarray(base), base.astype(">f4"), base.astype(np.float16)):
        save_depth(tmp_path / f"map{suffix}", values)
        loaded, _ = load_depth(tmp_path / f"map{suffix}")
        assert np.allclose(loaded, values.astype(np.float32), atol=0.000501 if suffix == ".png" else 0, rtol=0)


@pytest.mark.parametrize("suffix", sorted(DEPTH_SUFFIXES))
def test_many_strips(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_formats, "_STRIP_VALUES", 50)
    monkeypatch.setattr("pro_engine.io.pictures._STRIP_PIXELS", 50)
    values = (np.arange(31 * 17, dtype=np.float32).reshape(31, 17) + 1) / 1000
    save_depth(tmp_path / f"map{suffix}", values)
    assert np.allclose(load_depth(tmp_path / f"map{suffix}")[0], values, atol=1e-6, rtol=0)


# 16-bit PNG


def codes_of(path: Path) -> np.ndarray[Any, Any]:
    codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert codes is not None
    assert codes.dtype == np.uint16
    return codes


def header_of(path: Path) -> dict[str, Any]:
    with Image.open(path) as picture:
        return dict(json.loads(picture.info["pro_engine"]))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (700, 3001)])
def test_png_in_strips_is_what_other_readers_expect(tmp_path: Path, size: tuple[int, int]) -> None:
    codes = np.cumsum(np.random.default_rng(0).integers(-9, 10, size), 1).astype(np.uint16)
    write_grey16(tmp_path / "a.png", codes.shape, codes.__getitem__, {"key": "text"})
    assert np.array_equal(codes_of(tmp_path / "a.png"), codes)
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.info["key"] == "text" and np.array_equal(np.asarray(picture), codes)
        assert (tmp_path / "a.png").read_bytes().count(b"IDAT") >= min(size) // 300


@pytest.mark.parametrize("size", SIZES)
def test_png_depth_is_in_millimetres(tmp_path: Path, size: tuple[int, int]) -> None:
    """Any program that knows REP 118 reads the same depth as we do; sky has none, as what is unknown."""
    depth = np.random.default_rng(3).random(size, dtype=np.float32) * 60 + 0.1
    if depth.size > 5:
        depth.flat[:2] = np.nan, np.inf
    save_depth(tmp_path / "map.png", depth, metadata=METADATA)
    loaded, info = load_depth(tmp_path / "map.png")
    assert info == DepthInfo("depth", "m", METADATA)
    known = np.isfinite(depth)
    assert np.array_equal(np.isnan(loaded), ~known)
    assert np.abs(loaded[known] - depth[known]).max() <= 0.000503
    assert np.abs(codes_of(tmp_path / "map.png")[known] * 0.001 - depth[known]).max() <= 0.000503
    if depth.size > 5:
        assert codes_of(tmp_path / "map.png").flat[:2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("farthest", "step_mm"), [(65.5, 1), (65.6, 2), (200, 5), (650, 10), (5000, 100), (1e7, 200000)]
)
def test_png_depth_beyond_65_metres(tmp_path: Path, farthest: float, step_mm: int) -> None:
    depth = np.linspace(0.7, farthest, 35, dtype=np.float32).reshape(5, 7)
    save_depth(tmp_path / "map.png", depth)
    header = header_of(tmp_path / "map.png")
    assert (header["unit"], header["png"]["offset"]) == ("m", 0)
    assert header["png"]["step"] == pytest.approx(step_mm / 1000)
    assert header["png"]["range"] == [float(depth.min()), float(depth.max())]
    known = depth >= step_mm / 2000
    assert (np.abs(load_depth(tmp_path / "map.png")[0] - depth) <= step_mm / 1000 * 0.501)[known].all()


@pytest.mark.parametrize("size", SIZES)
def test_png_disparity_uses_all_codes(tmp_path: Path, size: tuple[int, int]) -> None:
    disparity = np.random.default_rng(4).normal(size=size).astype(np.float32)
    if disparity.size > 5:
        disparity.flat[0] = np.nan
    save_depth(tmp_path / "map.png", disparity, quantity="disparity")
    loaded, info = load_depth(tmp_path / "map.png")
    assert info == DepthInfo("disparity", "relative", {})
    known = np.isfinite(disparity)
    step = header_of(tmp_path / "map.png")["png"]["step"]
    assert np.array_equal(np.isfinite(loaded), known)
    assert np.abs(loaded - disparity)[known].max() <= step * 0.51
    if disparity.size > 5:
        codes = codes_of(tmp_path / "map.png")
        assert (codes[known].min(), codes[known].max()) == (1, 65534)
        assert step == pytest.approx(np.ptp(disparity[known].astype(float)) / 65533)


def test_png_of_a_constant_and_of_nothing_known(tmp_path: Path) -> None:
    save_depth(tmp_path / "map.png", np.full((3, 4), -7.25, np.float32), quantity="disparity")
    assert np.unique(load_depth(tmp_path / "map.png")[0]).tolist() == [-7.25]
    unknown = np.full((3, 4), np.nan, np.float32)
    unknown[0, 0] = np.inf
    for quantity in ("depth", "disparity"):
        save_depth(tmp_path / "map.png", unknown, quantity=quantity)
        if quantity == "depth":
            unknown[0, 0] = np.nan
        assert np.array_equal(load_depth(tmp_path / "map.png")[0], unknown, equal_nan=True)
        unknown[0, 0] = np.inf


def test_png_has_no_code_for_minus_infinity(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"-inf.*map\.png.*use \.npz"):
        save_depth(tmp_path / "map.png", np.array([[-np.inf, 1]], np.float32), quantity="disparity")
    assert list(tmp_path.iterdir()) == []


# what other programs see


def test_other_readers_get_the_bare_map(tmp_path: Path) -> None:
    values = values_of((5, 7))
    for suffix in (".npy", ".npz", ".tiff", ".pfm", ".exr"):
        save_depth(tmp_path / f"map{suffix}", values)
    maps = {
        "numpy": np.load(tmp_path / "map.npy"),
        "numpy, mapped": np.load(tmp_path / "map.npy", mmap_mode="r"),
        "npz": np.load(tmp_path / "map.npz")["depth"],
        "opencv tiff": cv2.imread(str(tmp_path / "map.tiff"), cv2.IMREAD_UNCHANGED),
        "pillow tiff": np.asarray(Image.open(tmp_path / "map.tiff")),
        "opencv pfm": cv2.imread(str(tmp_path / "map.pfm"), cv2.IMREAD_UNCHANGED),
        "openexr": OpenEXR.File(str(tmp_path / "map.exr")).channels()["Z"].pixels,
    }
    for name, seen in maps.items():
        assert np.array_equal(seen, values, equal_nan=True), name
    assert json.loads(str(np.load(tmp_path / "map.npz")["info"]))["unit"] == "m"


# plain files of sensors and other programs


def test_plain_sixteen_bit_files_are_millimetres(tmp_path: Path) -> None:
    codes = np.array([[0, 1, 1234], [65535, 20000, 500]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), codes)
    tifffile.imwrite(tmp_path / "a.tiff", codes)
    np.save(tmp_path / "a.npy", codes)
    for name in ("a.png", "a.tiff", "a.npy"):
        depth, info = load_depth(tmp_path / name)
        assert info == DepthInfo("depth", "m", {})
        expected = np.array([[np.nan, 0.001, 1.234], [65.535, 20, 0.5]], np.float32)
        assert np.array_equal(depth, expected, equal_nan=True), name


def test_plain_floats_are_unknown(tmp_path: Path) -> None:
    values = values_of((5, 7))
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", anything=values)
    np.savez_compressed(tmp_path / "b.npz", values)
    tifffile.imwrite(tmp_path / "a.tif", values, description="a text of someone else")
    cv2.imwrite(str(tmp_path / "a.pfm"), values)
    (tmp_path / "big.pfm").write_bytes(b"Pf\n7 5\n1.0\n" + values[::-1].astype(">f4").tobytes())
    header = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Z": values}).write(str(tmp_path / "a.exr"))
    colours = np.zeros((5, 7, 4), np.float32)
    OpenEXR.File(dict(header), {"View.Combined": colours, "View.Depth.Z": values}).write(str(tmp_path / "b.exr"))
    for name in ("a.npy", "a.npz", "b.npz", "a.tif", "a.pfm", "big.pfm", "a.exr", "b.exr"):
        loaded, info = load_depth(tmp_path / name)
        assert np.array_equal(loaded, values, equal_nan=True), name
        assert info == DepthInfo("unknown", "unknown", {}), name


# the text beside a .pfm


def test_pfm_beside_a_text_of_another_map_is_unknown(tmp_path: Path) -> None:
    save_depth(tmp_path / "a.pfm", values_of((5, 7)))
    cv2.imwrite(str(tmp_path / "a.pfm"), values_of((5, 8)))
    assert load_depth(tmp_path / "a.pfm")[1].quantity == "unknown"
    (tmp_path / "a.pfm.json").write_text("not json")
    assert load_depth(tmp_path / "a.pfm")[1].quantity == "unknown"
    save_depth(tmp_path / "a.pfm", values_of((5, 7)))
    assert load_depth(tmp_path / "a.pfm")[1].quantity == "depth"


def test_pfm_is_unknown_when_a_write_stopped_between_its_two_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = values_of((5, 7))
    save_depth(tmp_path / "a.pfm", values, metadata={"which": "old"})

    def stop(source: object, target: object) -> None:
        if str(target).endswith(".pfm"):
            raise KeyboardInterrupt
        replace(source, target)  # type: ignore[arg-type]

    from pro_engine.io import atomic

    replace = atomic.os.replace
    monkeypatch.setattr(atomic.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_depth(tmp_path / "a.pfm", values + 1, quantity="disparity")
    read, info = load_depth(tmp_path / "a.pfm")
    np.testing.assert_array_equal(read, values)
    assert info == DepthInfo("unknown", "unknown")


def test_header_of_a_later_version_is_not_guessed(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, values_of((5, 7)))
        np.save(file, np.array(json.dumps({"pro_engine_depth": 2, "quantity": "depth", "unit": "mm"})))
    with pytest.raises(FileError, match=r"a\.npy.*version 2.*update"):
        load_depth(tmp_path / "a.npy")


def test_exr_map_lies_on_its_plate(tmp_path: Path) -> None:
    plate = Plate((20, 10, 22, 11), (0, 0, 95, 63), 2.0)
    save_depth(tmp_path / "a.exr", np.ones((2, 3), np.float32), plate=plate)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        header = file.header()
        assert [corner.tolist() for corner in header["dataWindow"]] == [[20, 10], [22, 11]]
        assert [corner.tolist() for corner in header["displayWindow"]] == [[0, 0], [95, 63]]
        assert header["pixelAspectRatio"] == 2
    assert load_depth(tmp_path / "a.exr")[0].shape == (2, 3)
    with pytest.raises(InputError, match=r"\(3, 3\) but the plate \(3, 2\)"):
        save_depth(tmp_path / "b.exr", np.ones((3, 3), np.float32), plate=plate)


@pytest.mark.parametrize("others", [("R", "G", "B"), ("ZBack", "A"), ("Y",), ("Depth.R", "Depth.G")])
def test_depth_among_other_channels_and_parts(tmp_path: Path, others: tuple[str, ...]) -> None:
    depth, other = np.full((5, 7), 2, np.float32), np.zeros((5, 7), np.float32)
    header = {"type": OpenEXR.scanlineimage}
    for name in ("Z", "z", "depth", "ViewLayer.Depth.Z"):
        OpenEXR.File(header, {name: depth, **dict.fromkeys(others, other)}).write(str(tmp_path / "a.exr"))
        parts = [OpenEXR.Part(dict(header), dict.fromkeys(others, other), "first")]
        parts.append(OpenEXR.Part(dict(header), {name: depth}, "second"))
        OpenEXR.File(parts).write(str(tmp_path / "b.exr"))
        for path in (tmp_path / "a.exr", tmp_path / "b.exr"):
            assert load_depth(path)[0].min() == 2


def test_depth_by_its_layer(tmp_path: Path) -> None:
    """Of two eyes in one part, of two parts, and of two kinds of distance; a name that is not there decides nothing."""
    near, far, header = np.full((5, 7), 2, np.float32), np.full((5, 7), 8, np.float32), {"type": OpenEXR.scanlineimage}
    both = {"Left.Depth.Z": near, "Right.Depth.Z": far, "Right.R": near}
    OpenEXR.File(header, both).write(str(tmp_path / "a.exr"))
    parts = [OpenEXR.Part(dict(header), {"Z": values}, name) for name, values in (("left", near), ("right", far))]
    OpenEXR.File(parts).write(str(tmp_path / "b.exr"))
    for path, layer in (("a", "right"), ("a", "Right.Depth"), ("a", "right.depth.z"), ("b", "Right")):
        assert load_depth(tmp_path / f"{path}.exr", layer=layer)[0].min() == 8
    for path, layer in (("a", None), ("a", "Right.R"), ("b", "Combined"), ("b", "Z")):
        with pytest.raises(FileError, match="not one map; name its layer"):
            load_depth(tmp_path / f"{path}.exr", layer=layer)
    OpenEXR.File(header, {"Z": near, "Distance": far, "Y": far}).write(str(tmp_path / "c.exr"))
    for layer, wanted in (("Distance", 8), ("Z", 2), ("Y", 2), ("Combined", 2), (None, 2)):
        assert load_depth(tmp_path / "c.exr", layer=layer)[0].min() == wanted


def test_png_of_one_step_for_all_maps(tmp_path: Path) -> None:
    """What the step does not reach has no depth, whatever else the map holds."""
    depth = np.array([[0.5, 65.534, 65.6, 300, np.inf, np.nan]], np.float32)
    save_depth(tmp_path / "a.png", depth, step_m=0.001)
    assert codes_of(tmp_path / "a.png").tolist() == [[500, 65534, 0, 0, 0, 0]]
    save_depth(tmp_path / "b.png", depth, step_m=0.005)
    assert codes_of(tmp_path / "b.png").tolist() == [[100, 13107, 13120, 60000, 0, 0]]
    assert load_depth(tmp_path / "b.png")[0][0, 3] == 300


def test_png_with_sky_of_an_older_version_still_has_it(tmp_path: Path) -> None:
    coding = {"offset": 0.0, "step": 0.001, "none": 0, "infinite": 65535, "range": [1, 2]}
    header = {"pro_engine_depth": 1, "quantity": "depth", "unit": "m", "metadata": {}, "png": coding}
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("pro_engine", json.dumps(header))
    Image.fromarray(np.array([[0, 1000, 65535]], np.uint16)).save(tmp_path / "a.png", pnginfo=chunks)
    assert np.array_equal(load_depth(tmp_path / "a.png")[0], np.float32([[np.nan, 1, np.inf]]), equal_nan=True)


def exr_channels(path: Path) -> dict[str, Any]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: channel.pixels for name, channel in file.channels().items()}


@pytest.mark.parametrize("channel", ["Z", "depth.Z", "D", "Distance"])
@pytest.mark.parametrize("half", [False, True])
def test_exr_channel_far_value_and_half(tmp_path: Path, channel: str, half: bool) -> None:
    depth = np.array([[1.5, 70, np.inf, np.nan]], np.float32)
    save_depth(tmp_path / "a.exr", depth, channel=channel, half=half, metadata=METADATA)
    found = exr_channels(tmp_path / "a.exr")
    assert list(found) == [channel]
    assert found[channel].dtype == (np.float16 if half else np.float32)
    loaded, info = load_depth(tmp_path / "a.exr")
    assert np.array_equal(loaded, depth, equal_nan=True)
    assert info == DepthInfo("depth", "m", METADATA)
    save_depth(tmp_path / "b.exr", depth, channel=channel, half=half, far_m=1000)
    found = exr_channels(tmp_path / "b.exr")
    assert found[channel].tolist() == [[1.5, 70, 1000, 1000]]
    assert found["valid"].tolist() == [[1, 1, 0, 0]]
    assert np.array_equal(load_depth(tmp_path / "b.exr")[0], np.float32([[1.5, 70, np.nan, np.nan]]), equal_nan=True)


def test_exr_of_disparity_keeps_its_channel(tmp_path: Path) -> None:
    save_depth(tmp_path / "a.exr", np.ones((1, 2), np.float32), quantity="disparity", channel="Z", far_m=9)
    assert list(exr_channels(tmp_path / "a.exr")) == ["Y"]


@pytest.mark.parametrize(
    "options", [{"far_m": 0}, {"step_m": -1}, {"far_m": np.inf}, {"channel": ""}, {"channel": "valid"}], ids=str
)
def test_senseless_codings_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} is .*; give"):
        save_depth(tmp_path / "a.exr", np.ones((1, 2), np.float32), **options)

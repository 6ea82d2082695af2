"""EXR photos: the beauty wherever it stands, its alpha, its colours, its place on the plate."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from pro_engine.errors import FileError
from pro_engine.io import exr
from pro_engine.io.image import load_image, read_photo
from pro_engine.io.linear import REC_709, rgb_to_rgb, rgb_to_xyz
from pro_engine.types import ImageArray, Intrinsics, Plate

SIZE = 40, 56
AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)

Channels = dict[str, Any]


def picture() -> ImageArray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([x * 4, y * 6, 255 - x * 4], -1).astype(np.uint8)


def light() -> np.ndarray[Any, np.dtype[np.float32]]:
    x = picture() / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


FLAT = np.full((*SIZE, 3), 0.4, np.float32)
ONE = np.ones(SIZE, np.float32)


def layer(prefix: str, rgb: Any, *, suffixes: str = "RGB", alpha: Any = None) -> Channels:
    found = {prefix + suffix: np.ascontiguousarray(rgb[..., at]) for at, suffix in enumerate(suffixes)}
    return found if alpha is None else {**found, f"{prefix}A": alpha}


def write(path: Path, *parts: Channels, names: tuple[str, ...] = (), **header: Any) -> Path:
    """One part, or parts of these names; `header` holds further attributes of all of them."""
    made = []
    for at, channels in enumerate(parts):
        attributes = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, **header}
        made.append(OpenEXR.Part(attributes, channels, names[at] if names else ""))
    if names:
        OpenEXR.File(made).write(str(path))
    else:
        OpenEXR.File(made[0].header, parts[0]).write(str(path))
    return path


def check(path: Path, wanted: ImageArray | None = None, *, layer: str | None = None) -> tuple[str, ...]:
    photo = read_photo(path, layer=layer)
    assert np.abs(photo.image.astype(int) - (picture() if wanted is None else wanted)).max() <= 1
    return photo.notes


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "rgba.", "RGBA.", "Beauty.", "beauty.", "C.", "Ci.", "ViewLayer.Combined.", "View Layer.Combined."),
        *("left.", "rgba_main.", "masterBeauty.", "beauty.left.", "zz.combined."),
    ],
)
def test_beauty_among_layers(tmp_path: Path, prefix: str) -> None:
    """Others stand before it and behind it in the alphabet."""
    others = {**layer("AO.", FLAT), **layer("zzz.", FLAT), "Z": ONE}
    notes = check(write(tmp_path / "a.exr", {**others, **layer(prefix, light(), alpha=ONE)}))
    assert len(notes) == 1
    assert (prefix[:-1] or "unnamed") in notes[0]
    assert "AO" in notes[0]


@pytest.mark.parametrize("suffixes", [("r", "g", "b"), ("red", "green", "blue"), ("Red", "Green", "Blue")])
@pytest.mark.parametrize("prefix", ["", "rgba."])
def test_names_of_colours_in_any_case(tmp_path: Path, prefix: str, suffixes: tuple[str, ...]) -> None:
    channels = {prefix + suffix: light()[..., at].copy() for at, suffix in enumerate(suffixes)}
    assert check(write(tmp_path / "a.exr", channels)) == ()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("albedo", layer("", FLAT)), ("beauty", layer("", light()))),
        (("depth", {"Z": ONE}), ("anything", layer("", light(), alpha=ONE))),
        (("albedo", layer("", FLAT)), ("Part 2", layer("", light()))),
        (("albedo", layer("", FLAT)), ("beauty", layer("beauty.", light()))),
        (("rgba_right", layer("", FLAT)), ("rgba_left", layer("", light()))),
        (("N", layer("N.", FLAT)), ("diffuse", layer("", light()))),
        (("crypto", layer("crypto00.", FLAT)), ("main", layer("", light()))),
    ],
)
def test_beauty_among_parts(tmp_path: Path, first: tuple[str, Channels], second: tuple[str, Channels]) -> None:
    for at, parts in enumerate([(first, second), (second, first)]):
        path = tmp_path / f"{at}.exr"
        check(write(path, *(channels for _, channels in parts), names=tuple(name for name, _ in parts)))


def test_default_view(tmp_path: Path) -> None:
    stereo = {**layer("left.", FLAT), **layer("", light())}
    check(write(tmp_path / "a.exr", stereo, multiView=["right", "left"]))
    check(write(tmp_path / "b.exr", {**layer("right.", FLAT), **layer("left.", light())}, multiView=["left", "right"]))


def test_layer_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "b.exr", {**layer("", FLAT), **layer("View.Diffuse.", light()), "Z": ONE * 0.5})
    for name in ("View.Diffuse", "view.diffuse", "diffuse"):
        assert check(path, layer=name) == ()
    assert np.unique(read_photo(path, layer="z").image).tolist() == [188]
    with pytest.raises(FileError, match=r"no layer 'glossy'; give one of .*View\.Diffuse.*Z"):
        read_photo(path, layer="glossy")
    parts = write(tmp_path / "c.exr", layer("", FLAT), layer("", light()), names=("beauty", "albedo"))
    assert check(parts, layer="Albedo") == ()


def test_alpha_that_is_no_matte(tmp_path: Path) -> None:
    half = ONE.copy()
    half[:, : SIZE[1] // 2] = 0
    for at, alpha in enumerate([ONE * 0, ONE * 0.5, ONE * np.nan, half]):
        notes = check(write(tmp_path / f"{at}.exr", layer("", light(), alpha=alpha)))
        assert "alpha" in notes[0]


def test_matte_turns_white_but_for_light_without_alpha(tmp_path: Path) -> None:
    alpha = ONE.copy()
    alpha[:, :20] = 0
    wanted = picture()
    wanted[:, :20] = 255
    wanted[4:8, 4:8] = picture()[4:8, 4:8]
    linear = light() * alpha[..., np.newaxis]
    linear[4:8, 4:8] = light()[4:8, 4:8]  # a flame in front of nothing
    assert check(write(tmp_path / "a.exr", layer("", linear, alpha=alpha)), wanted) == ()


@pytest.mark.parametrize("header", [{"chromaticities": AP0}, {"colorInteropID": "lin_ap0_scene"}], ids=str)
def test_chromaticities(tmp_path: Path, header: dict[str, Any]) -> None:
    matrix = rgb_to_rgb(AP0)
    assert matrix is not None
    assert matrix.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)  # white stays white
    check(write(tmp_path / "a.exr", layer("", light() @ np.linalg.inv(matrix).T.astype(np.float32)), **header))


def test_first_matrix_is_that_of_the_standard() -> None:
    """IEC 61966-2-1, the matrix from linear sRGB to XYZ."""
    standard = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    assert rgb_to_xyz(REC_709) == pytest.approx(np.array(standard), abs=1e-4)


def write_subsampled(path: Path, planes: dict[str, tuple[int, Any]]) -> None:
    """An EXR without compression whose channels have one value every so many pixels, rows and columns."""
    height, width = SIZE
    names = sorted(planes)
    channels = b"".join(n.encode() + b"\0" + struct.pack("<iB3x2i", 2, 0, planes[n][0], planes[n][0]) for n in names)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = [
        ("channels", "chlist", channels + b"\0"),
        ("compression", "compression", b"\0"),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", bytes(8)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    head = exr.MAGIC + struct.pack("<i", 2)
    for name, kind, value in attributes:
        head += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    rows = []
    for y in range(height):
        row = b"".join(planes[n][1][y // planes[n][0]].astype("<f4").tobytes() for n in names if y % planes[n][0] == 0)
        rows.append(struct.pack("<2i", y, len(row)) + row)
    places = np.cumsum([len(head) + 8 * height, *map(len, rows[:-1])])
    path.write_bytes(head + places.astype("<u8").tobytes() + b"".join(rows))


def test_luminance_and_chroma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours that change slowly come back from a quarter of their values; also where the file is read in strips."""
    monkeypatch.setattr(exr, "_STRIP_BYTES", 3000)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    linear = np.stack([0.3 + x / 200, 0.3 + y / 200, 0.5 - x / 300], -1)
    luminance = linear @ rgb_to_xyz(REC_709)[1]
    chroma = {"RY": linear[..., 0] / luminance - 1, "BY": linear[..., 2] / luminance - 1}
    write_subsampled(
        tmp_path / "a.exr", {"Y": (1, luminance), **{name: (2, part[::2, ::2]) for name, part in chroma.items()}}
    )
    write(tmp_path / "b.exr", layer("", linear.astype(np.float32)))
    found, wanted = (read_photo(tmp_path / f"{name}.exr").image.astype(int) for name in "ab")
    assert np.abs(found - wanted).max() <= 1


def test_windows_put_maps_and_lens_on_the_plate(tmp_path: Path) -> None:
    inner = {"dataWindow": ((20, 10), (75, 49)), "displayWindow": ((0, 0), (95, 63))}
    photo = read_photo(write(tmp_path / "a.exr", layer("", light()), **inner))
    assert photo.plate == Plate((20, 10, 75, 49), (0, 0, 95, 63))
    assert "56 x 40 pixels from (20, 10) of a plate of 96 x 64" in photo.notes[0]
    lens = photo.plate.lens(lambda width, height: Intrinsics.from_fov(width, height, fov_x_deg=90))
    assert (lens.fx, lens.fy) == pytest.approx((48, 48))
    assert (lens.cx, lens.cy) == pytest.approx((47.5 - 20, 31.5 - 10))
    assert (lens.width, lens.height) == (56, 40)
    assert read_photo(write(tmp_path / "b.exr", layer("", light()))).plate is None


def test_overscan_and_squeezed_pixels(tmp_path: Path) -> None:
    windows = {"dataWindow": ((-8, -4), (47, 35)), "displayWindow": ((0, 0), (39, 31)), "pixelAspectRatio": 2.0}
    plate = read_photo(write(tmp_path / "a.exr", layer("", light()), **windows)).plate
    assert plate is not None
    lens = plate.lens(lambda width, height: Intrinsics.from_fov(width, height, fov_x_deg=90))
    assert (lens.fx, lens.fy) == pytest.approx((20, 40))  # half of 40 pixels; as high as half as wide
    assert (lens.cx, lens.cy) == pytest.approx((19.5 + 8, 15.5 + 4))


def test_environment_map_is_a_panorama(tmp_path: Path) -> None:
    for kind, whole in ((OpenEXR.ENVMAP_LATLONG, True), (OpenEXR.ENVMAP_CUBE, False)):
        found = read_photo(write(tmp_path / "a.exr", layer("", light()), envmap=kind)).panorama
        assert found is not None and "environment map" in found.reason and found.equirectangular == whole


def deep_exr(path: Path) -> Path:
    """A deep file by its header alone, which says so before any pixel."""
    write(path, layer("", light()))
    data = path.read_bytes()
    end = data.index(b"\0\0\0\0", data.index(b"screenWindowWidth"))
    kind = b"type\0string\0" + struct.pack("<i", 12) + b"deepscanline"
    path.write_bytes(data[:4] + struct.pack("<i", 2 | 0x800) + data[8 : end + 3] + kind + data[end + 3 :])
    return path


def test_deep_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a deep EXR; flatten it"):
        load_image(deep_exr(tmp_path / "a.exr"))


COMPRESSIONS = [name for name in dir(OpenEXR) if name.endswith("_COMPRESSION")]


@pytest.mark.parametrize("kind", ["scanlineimage", "tiledimage"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_strips_are_what_the_module_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, kind: str
) -> None:
    """Every compression, of one part and of the second of two, in strips of a few rows."""
    monkeypatch.setattr(exr, "_STRIP_BYTES", 20_000)
    random = np.random.default_rng(0)
    shape = 301, 93
    channels: Channels = {name: random.random(shape, dtype=np.float32) for name in ("R", "x.Z")}
    channels |= {"h": channels["R"].astype(np.float16), "id": random.integers(0, 2**32, shape, dtype=np.uint32)}
    header = {"compression": getattr(OpenEXR, compression), "type": getattr(OpenEXR, kind)}
    header |= {"dataWindow": ((7, 9), (99, 309)), "displayWindow": ((0, 0), (999, 999))}
    if kind == "tiledimage":
        header["tiles"] = OpenEXR.TileDescription()
    OpenEXR.File(header, channels).write(str(tmp_path / "0.exr"))
    parts = [OpenEXR.Part(dict(header), {"Y": channels["R"]}, "a"), OpenEXR.Part(dict(header), channels, "b")]
    OpenEXR.File(parts).write(str(tmp_path / "1.exr"))
    for number in (0, 1):
        path = tmp_path / f"{number}.exr"
        with OpenEXR.File(str(path), separate_channels=True) as file:
            wanted = {name: channel.pixels for name, channel in file.channels(number).items()}
        found = exr.read_channels(path, exr.read_layout(path)[number], list(wanted), 10**6)
        for name, values in wanted.items():
            assert np.array_equal(found[name], values)
            assert found[name].dtype == values.dtype


def test_rows_in_falling_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exr, "_STRIP_BYTES", 5000)
    check(write(tmp_path / "a.exr", layer("", light()), lineOrder=OpenEXR.DECREASING_Y))


def test_only_what_is_wanted_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forty channels no strip holds more than its share, and a file that is cut short is told."""
    monkeypatch.setattr(exr, "_STRIP_BYTES", 1 << 16)
    sizes = []
    real = exr._small_file
    monkeypatch.setattr(exr, "_small_file", lambda part, rows, chunks: sizes.append(rows) or real(part, rows, chunks))
    many = {f"pass{number}.Z": np.zeros((640, 64), np.float32) for number in range(40)}
    path = write(tmp_path / "a.exr", {**many, **layer("", np.zeros((640, 64, 3), np.float32) + 0.4)})
    assert read_photo(path).image.shape == (640, 64, 3)
    assert max(bottom - top for top, bottom in sizes) == 16  # the rows of one chunk
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="a part of the picture is missing"):
        read_photo(path)

"""Rigs built anew, lenses, images of the .blend, and the real engine on all kinds of photos.

Numbers in names: see conftest.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from blender_addon.errors import UserError
from blender_addon.maths.lens import BlendCamera, LensOptions
from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import engine_python, one_sentence

facts = facts_of("inside_rig.py")

PHOTOS = Path(__file__).parents[2] / "docs" / "photos"


# ---- Rebuild and scale


@needs_blender
def test_7_rebuild_keeps_what_the_user_did_and_leaves_nothing_old(python):
    seen = facts(python, "rebuild")
    maps = {"mesh": [], "live": ["card offsets"], "adaptive": ["card offsets"]}
    modifiers = {"mesh": ["Mine"], "live": ["Depth", "Mine"], "adaptive": ["Depth", "Mine"]}
    for kind, (result, names, images, meshes, materials, textures) in seen["kinds"].items():
        assert result == "FINISHED" and names == modifiers[kind]
        assert images == sorted(["card photo", "card source", *maps[kind]])
        assert meshes == 0 and materials == 1 and textures == (kind == "live")
    assert seen["objects"] and seen["as the user had it"] == [[1, 2, 3], [2, 2, 2], True, True]
    assert seen["strength kept"] == pytest.approx(0.7)
    assert seen["lens"][0] == "FINISHED" and np.degrees(seen["lens"][1]) == pytest.approx(70, abs=1e-3)


@needs_blender
def test_a_rebuild_that_fails_leaves_the_rig_as_it_was(python):
    seen = facts(python, "rebuild")
    assert "Near is 50 m" in one_sentence(seen["fails"][0]) and seen["fails"][1]
    for whose in ("linked", "overridden"):
        is_borrowed, said, as_before = seen[whose]
        assert is_borrowed and "comes from another file" in one_sentence(said) and as_before
    assert "is not whole" in one_sentence(seen["no camera"]) and "poll()" in seen["no rig"]


@needs_blender
def test_the_sky_is_dropped_put_on_a_card_or_is_a_wall(python):
    seen = facts(python, "scale")
    assert seen["drop"][0] == "FINISHED" and np.isnan(seen["drop"][1])
    assert seen["card"][1:] == pytest.approx([20, 20, 1], rel=1e-4)
    wall, before_it, near = seen["keep"][1:]
    assert [wall, near] == pytest.approx([20, 1], rel=1e-4) and 1 < before_it < 20


@needs_blender
@pytest.mark.parametrize(("kept", "metres", "row", "kept_m"), [("FAR", 4, 2, 20), ("NEAR", 1.4, 3, 1)])
def test_a_point_at_a_known_distance_sets_the_scale(python, kept, metres, row, kept_m):
    found = facts(python, "scale")[f"point, {kept}"]
    assert found[0] == "FINISHED" and found[4] == pytest.approx(metres, rel=1e-4)
    assert found[row] == pytest.approx(kept_m, rel=1e-4)


@needs_blender
def test_metres_of_the_model_are_taken_as_they_are_and_kept_for_rebuild(python):
    result, kept, *rest = facts(python, "scale")["metres"]
    assert result == "FINISHED" and kept
    assert rest == ["FINISHED", 30, *rest[2:3], 10, "FINISHED", 20, 20, 10, "FINISHED", 20, *rest[-2:]]
    assert rest[-1] == pytest.approx(1, rel=1e-4), "Near and Far still can be set"


@needs_blender
@pytest.mark.parametrize("source", ["exif", "model", "given"])
def test_a_wall_of_a_metric_model_stands_where_it_is_whatever_tells_the_lens(python, source):
    told, note, right, up, deep, across, *_, ahead = facts(python, "wall")[source]
    assert told == f"Metres: metric, lens: {source}"
    assert ("the model estimates" in note) == (source == "model")
    assert (deep, ahead) == (pytest.approx(0, abs=1e-4), pytest.approx(-3, rel=1e-4))
    assert right == pytest.approx(across, rel=0.03) and up == pytest.approx(across * 2 / 3, rel=0.05)


@needs_blender
def test_a_point_can_be_taken_from_the_cursor(python):
    seen = facts(python, "scale")
    assert seen["cursor"] == ["FINISHED", [70, 50]]
    assert "behind the camera" in one_sentence(seen["behind"]) and "outside" in one_sentence(seen["outside"])
    assert "gives no metres" in one_sentence(seen["metric"])


# ---- lenses


@needs_blender
def test_4_a_camera_of_the_scene_is_taken_as_blender_has_it(python):
    seen = facts(python, "cameras")["off"]
    assert seen.pop("another one")
    assert len(seen) == 10 and max(seen.values()) < 1e-3, "pixels"


@needs_blender
def test_the_camera_has_the_sensor_as_typed(python):
    seen = facts(python, "cameras")["sensors"]
    assert seen["camera"] == pytest.approx([28.0, 20.0 * 96 / 64])  # of the height, on a photo of another shape
    across, along = 2 * np.arctan(24.89 / 35 / 2), 2 * np.arctan(24.89 * 64 / 96 / 35 / 2)
    assert seen["(96, 64)"] == pytest.approx([35, 24.89, 24.89 * 64 / 96, across], rel=1e-5)
    assert seen["(64, 96)"] == pytest.approx([35, 24.89 * 64 / 96, 24.89, along], rel=1e-5)


def test_a_focal_length_counts_along_the_longer_side():
    for size, longer in (((300, 200), 300), ((200, 300), 300)):
        intrinsics, note = LensOptions(source="FOCAL", focal_mm=50, sensor_mm=36).intrinsics(*size, None)
        assert intrinsics.fx == intrinsics.fy == pytest.approx(50 / 36 * longer) and note == ""


def test_a_photo_that_tells_nothing_gets_the_typed_field_of_view_and_a_sentence():
    intrinsics, note = LensOptions(fov_deg=40).intrinsics(300, 200, None)
    assert intrinsics.fx == pytest.approx(150 / np.tan(np.radians(20))) and "40° are assumed" in one_sentence(note)
    assert LensOptions(fov_deg=40).intrinsics(300, 200, (280.0, 281.0, 150.0, 99.0))[0].fy == 281


@pytest.mark.parametrize("wrong", [{"source": "X"}, {"focal_mm": 0}, {"sensor_mm": float("nan")}, {"source": "CAMERA"}])
def test_a_lens_that_is_none_is_refused(wrong):
    with pytest.raises(UserError) as error:
        LensOptions(**wrong)
    one_sentence(str(error.value))


def test_a_pixel_that_is_not_square_makes_two_focal_lengths():
    intrinsics = BlendCamera(50, 36, "HORIZONTAL", 0.0, 0.1, 2.0, ()).intrinsics(300, 200)
    assert intrinsics.fx == 2 * intrinsics.fy and intrinsics.cy == pytest.approx(99.5 + 0.1 * 300 / 2)


# ---- images of the .blend


@needs_blender
@pytest.mark.parametrize("case", ["painted", "float"])
def test_an_image_is_written_as_it_is_shown_and_stays_as_it_is(python, case):
    off, same = facts(python, "images")[case]
    assert off <= 0.5 / 255 + 1e-6 and same


@needs_blender
@pytest.mark.parametrize("case", ["file", "packed", "log"])
def test_a_file_is_taken_as_it_is_packed_or_not_and_a_log_plate_is_developed(python, case):
    assert facts(python, "images")[case] == [True, True]


@needs_blender
def test_an_image_can_become_a_rig_and_one_without_pixels_cannot(python):
    seen = facts(python, "images")
    assert seen["estimate"] == ["FINISHED", ["painted"]]
    assert "choose a single picture" in one_sentence(seen["sequence"])
    one_sentence(seen["gone"])


@needs_blender
def test_a_plate_is_shown_with_all_it_holds(python):
    seen = facts(python, "images")
    assert seen["own plate"] == ["FINISHED", "bright", 2], "beside it, the map"
    assert seen["plate"] == ["FINISHED", True, "plate.exr", "FINISHED"]


# ---- 9, 12, 15, 17, 18: the engine itself

TURNS = {
    1: None,
    2: 0,
    3: 3,
    4: 1,
    5: 5,
    6: 4,
    7: 6,
    8: 2,
}  # what undoes each EXIF orientation, as Image.transpose has it


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of every kind, good and bad, small."""
    folder = tmp_path_factory.mktemp("photos")
    real = Image.open(PHOTOS / "drum.jpg").convert("RGB")
    real.thumbnail((160, 160))
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30], upright[:20, 30:], upright[20:, :30], upright[20:, 30:] = (255, 0, 0), (0, 255, 0), 0, 255
    inverse = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2, 5: 5, 6: 6}
    for orientation, turn in TURNS.items():
        stored = Image.fromarray(upright)
        if turn is not None:
            stored = stored.transpose(Image.Transpose(inverse[turn]))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.save(folder / f"turned {orientation}.jpg", quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50  # equivalent focal length
    real.save(folder / "lens.jpg", exif=exif)
    real.save(folder / "drüm 東京.jpg")
    real.convert("CMYK").save(folder / "cmyk.jpg")
    real.convert("P").save(folder / "palette.png")
    real.convert("L").save(folder / "grey.png")
    real.save(folder / "anim.gif")
    half = real.convert("RGBA")
    half.putalpha(128)
    half.save(folder / "alpha.png")
    real.save(folder / "is a png.jpg", format="PNG")
    Image.fromarray(np.asarray(real)[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (5000, 1)).save(folder / "line.png")
    linear = (np.asarray(real).astype(np.float32) / 255) ** 2.2 * 4
    OpenEXR.File({}, {"RGB": linear}).write(str(folder / "plate.exr"))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    whole = (folder / "lens.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    real.save(folder / "cut.png")
    whole = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    whole = bytearray((folder / "dot.png").read_bytes())
    whole[16:24] = (60000).to_bytes(4, "big") * 2
    (folder / "vast.png").write_bytes(whole)
    return folder


BAD = ["cut.jpg", "cut.png", "dot.png", "empty.jpg", "line.png", "text.jpg", "vast.png"]


@pytest.fixture
def real(python, photos):
    return facts(python, "real", engine_python(), str(photos))


@needs_blender
def test_9_test_engine_answers_with_version_device_and_weights(real):
    result, text = real["tested"]
    assert result == "FINISHED"
    assert "Engine 0." in text and "on cpu" in text and "compact (bundled)" in text


@needs_blender
def test_12_of_all_photos_the_bad_ones_are_told_and_the_odd_ones_work(real, photos):
    text, details = real["said"]
    assert sorted(line.split(":")[0] for line in details) == sorted([*BAD, "missing.jpg", photos.name])
    assert all(one_sentence(line) for line in details)
    count = len(list(photos.iterdir()))
    assert text.startswith(f"{count - len(BAD)} of {count + 2} photos are done") and real["loads"] == 1
    assert real["added"]["cameras"] == real["added"]["meshes"] == real["added"]["materials"] == count - len(BAD)


@needs_blender
@pytest.mark.parametrize("orientation", TURNS)
def test_15_a_turned_photo_is_upright_on_the_mesh(real, orientation):
    width, height, corners, _ = real["pictures"][f"turned {orientation}"]
    assert (width, height) == (60, 40)
    assert np.allclose(corners, [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]], atol=0.15)


@needs_blender
def test_the_lens_is_that_of_the_photo(real):
    width, height, _, lens_mm = real["pictures"]["lens"]
    assert lens_mm == pytest.approx(50 * np.hypot(width, height) / np.hypot(36, 24) / width * 36, rel=1e-3)


@needs_blender
def test_10_the_addon_does_not_wait_for_what_the_engine_says_next(real):
    assert real["polls"] > 2 * real["steps"] > 20


@needs_blender
def test_18_no_socket_is_opened_and_absent_weights_are_told(real):
    assert real["sockets"] == [0, False]
    assert one_sentence(real["weights"])


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own that holds 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@needs_blender
def test_12_a_full_disk_is_told_and_leaves_nothing(python, photos, small_disk):
    said, as_before, maps = facts(python, "full_disk", engine_python(), str(photos / "lens.jpg"), str(small_disk))
    assert "the disk is full" in one_sentence(said) and as_before and not maps

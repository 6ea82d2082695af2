"""Training the heads of a vision transformer: what is seen once, and what it is to say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pro_engine.datasets.scenes import list_rendered
from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.contract import PsiSpec
from pro_engine.models.vit import TrunkShape, VitDepth
from pro_engine.options import OptionError
from pro_engine.training import heads
from pro_engine.training.bundle import bundle
from pro_engine.training.heads import LensTask, SkyTask, run_heads
from pro_engine.training.options import BundleConfig, HeadsConfig
from pro_engine.training.run_folder import TrainingError

SHAPE = TrunkShape(width=24, depth=4, heads=2, grid=5, taps=(1, 2, 3, 4))
COUNT = 6


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Floors under a sky, each 192x144, with a focal length of 150 pixels."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for i in range(COUNT):
        depth = np.repeat(np.linspace(9, 2, 144, dtype=np.float16)[:, None], 192, axis=1)
        depth[: 20 * i] = np.inf
        picture = np.full((144, 192, 3), 60, np.uint8)
        picture[np.isinf(depth)] = (250, 160, 90)
        cv2.imwrite(str(folder / f"v{i}.jpg"), picture)
        labels = {"transparent": np.zeros(depth.shape, np.uint8), "intrinsics": np.float32((150, 150, 95.5, 71.5))}
        np.savez(folder / f"v{i}.npz", depth=depth, **labels)
    return folder


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a small network without heads."""

    def small(spec: PsiSpec) -> VitDepth:
        return VitDepth(spec, SHAPE)

    monkeypatch.setattr(heads, "VitDepth", small)
    monkeypatch.setattr(heads, "TOKENS", (12,))
    monkeypatch.setattr(heads, "PER_FILE", 4)
    torch.manual_seed(1)
    save_weights(tmp_path / "base.safetensors", VitDepth(shape=SHAPE).state_dict(), {})
    return tmp_path / "base.safetensors"


def config(scenes: Path, base: Path, out: Path, part: str = "lens") -> HeadsConfig:
    return HeadsConfig(
        data=(scenes,), base=base, out=out, steps=60, batch=4, accelerator="cpu", picture_every=0, warm_up=5,
        learning_rate=3e-3, average=0.9, part=part, composed=COUNT,
    )  # fmt: skip


def losses(task: LensTask | SkyTask) -> Iterator[dict[str, float]]:
    task.model.eval()
    for index in range(COUNT):
        sample = task.samples[index]
        yield task.loss(type(sample)(*(part[None] for part in sample)))[1]


@pytest.mark.parametrize(("part", "make", "learnt"), [("lens", LensTask, "metres"), ("sky", SkyTask, "sky")])
def test_a_part_is_learnt_and_pictures_are_seen_once(
    scenes: Path, base: Path, tmp_path: Path, part: str, make: type, learnt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(scenes, base, tmp_path / "run", part)
    run_heads(run)
    assert len(list((tmp_path / "run" / "seen").iterdir())) == 2
    tensors = read_weights(tmp_path / "run" / "model.safetensors")
    assert {key.split(".")[1] for key in tensors} == {"sky" if part == "sky" else "photo"}

    monkeypatch.setattr(make, "see", lambda *_: pytest.fail("it was seen before"))
    task = make(run)
    task.samples.build(task.see, task._mark, lambda *_: None)
    before = list(losses(task))
    task.model.load_state_dict(tensors)
    after = list(losses(task))
    assert sum(one[learnt] for one in after) < 0.5 * sum(one[learnt] for one in before)


def test_a_sky_needs_pictures_without_one(scenes: Path, base: Path, tmp_path: Path) -> None:
    for path in (scenes / "v0.npz", scenes / "v0.jpg"):
        path.unlink()
    with pytest.raises(TrainingError, match="with and without"):
        SkyTask(config(scenes, base, tmp_path / "run", "sky"))


def test_a_sample_has_the_lens_of_its_part_of_the_picture(scenes: Path, base: Path, tmp_path: Path) -> None:
    (view,) = list_rendered([scenes])[:1]
    for seed in range(8):
        crop = heads._cut(np.random.default_rng(seed), view)
        height, width = crop.depth.shape
        # The whole is 192x144 at a focal length of 150 pixels; a part of it has a longer one, in shares of its area.
        assert crop.focal_px / np.sqrt(height * width) >= 0.97 * 150 / np.sqrt(192 * 144)
        assert crop.image.shape == (height, width, 3) and height % 14 == width % 14 == 0
        sky = np.isinf(crop.depth)
        assert not sky.any() or crop.image[sky].mean(0)[2] > 150 > crop.image[~sky].mean()


def test_base_and_heads_are_bundled(scenes: Path, base: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    whole = {f"psi.{key}": value for key, value in VitDepth(heads.VIT_HEADS_SPEC).state_dict().items()}
    plain = {key.removeprefix("psi."): value for key, value in whole.items() if ".heads." not in key}
    own = {key.removeprefix("psi."): value for key, value in whole.items() if ".heads." in key}
    save_weights(tmp_path / "plain.safetensors", plain, {})
    files = []
    for part in ("photo", "sky"):
        files.append(tmp_path / f"{part}.safetensors")
        save_weights(files[-1], {key: value for key, value in own.items() if part in key}, {})
    out = tmp_path / "hybrid.safetensors"
    bundle(BundleConfig(base=tmp_path / "plain.safetensors", heads=tuple(files), out=out))
    assert set(read_weights(out)) == {key for key in whole if not key.endswith("num_batches_tracked")}
    with pytest.raises(OptionError, match="hybrid"):
        bundle(BundleConfig(heads=(files[0],), refiner=base, out=out))

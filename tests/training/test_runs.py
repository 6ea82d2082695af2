"""Samples and short real runs on a few rendered-like files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from pro_engine.errors import FileError, InputError, WeightsError
from pro_engine.inference import load
from pro_engine.io.weights import RevisionError, file_about, read_weights, save_weights
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.presets import PRESETS, TRAINED_ON, build_psi, build_refiner
from pro_engine.models.refiner_published import ProRefiner
from pro_engine.training.base import CompactTask
from pro_engine.training.data import (
    BaseSamples,
    LabelledPicture,
    LabelledView,
    crop_matrix,
    list_rendered,
    list_views,
    read_rendered,
    views_hash,
)
from pro_engine.training.gpct import cut, plan_group
from pro_engine.training.loop import train
from pro_engine.training.losses import data_loss
from pro_engine.training.options import BaseConfig, RefinerConfig
from pro_engine.training.refiner import RefinerTask, RegionSample, RegionSamples, load_psi_for_training, refiner_task


def test_labels_are_inverse_metres_and_zero_for_sky(rendered: Path) -> None:
    _, disparity, transparent = read_rendered(list_rendered([rendered])[0])
    assert disparity[0, 0] == 0
    assert disparity[75, 80] == pytest.approx(1 / 1.5)
    assert not transparent.any()


def test_a_folder_without_views_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no rendered views"):
        list_rendered([tmp_path])


def test_a_crop_matrix_keeps_the_crop_inside_without_roll() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        matrix = crop_matrix(rng, (144, 192), (64, 96))
        if abs(matrix[0, 1]) > 1e-9:  # rolled: corners may leave the picture, they are mirrored
            continue
        corners = np.array([[-0.5, -0.5, 1], [95.5, 63.5, 1]]).T
        x, y = matrix @ corners
        assert x.min() >= -0.5 - 1e-6 and x.max() <= 191.5 + 1e-6
        assert y.min() >= -0.5 - 1e-6 and y.max() <= 143.5 + 1e-6


def test_samples_depend_on_seed_and_index_alone(rendered: Path) -> None:
    views = list_views([rendered])
    first = BaseSamples(views, 3, 2, [(64, 96), (96, 64)], 10)
    again = BaseSamples(views, 3, 2, [(64, 96), (96, 64)], 10)
    for i in (0, 7, 19):
        for a, b in zip(first[i], again[i], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(first[0][1], first[1][1])


def _refiner_task(rendered: Path) -> RefinerTask:
    torch.manual_seed(0)
    preset = PRESETS["compact"]
    samples = RegionSamples(list_views([rendered]), 0, 24, plan_group((64, 96)))
    return RefinerTask(build_psi(preset), build_refiner(preset), samples)


def test_the_refiner_fits_two_regions_and_leaves_psi_alone(rendered: Path) -> None:
    task = _refiner_task(rendered)
    before = {k: v.clone() for k, v in task.psi.state_dict().items()}
    batches = [RegionSample(*(t[None] for t in task.samples[i])) for i in range(2)]
    optimizer = torch.optim.AdamW(task.groups(2e-3))
    task.train_mode()
    losses = []
    for step in range(24):
        loss, _ = task.loss(batches[step % 2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) < 0.6 * sum(losses[:2])
    for key, value in task.psi.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def tiny_task(
    tiny: SimpleNamespace, rendered: Path, *, gpct: bool = True, local: bool = True, **options: object
) -> RefinerTask:
    """The refiner of the tiny Ψ on patches of 64x96, seeded."""
    torch.manual_seed(0)
    psi = tiny.Psi()
    samples = RegionSamples(list_views([rendered]), 0, 24, plan_group((64, 96)), **options)
    return RefinerTask(psi, ProRefiner(psi.spec.feature_channels), samples, gpct=gpct, local=local)


def as_batch(*samples: RegionSample) -> RegionSample:
    return RegionSample(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


def test_several_regions_share_the_picture_and_its_coarse_pass(tiny: SimpleNamespace, rendered: Path) -> None:
    one, three = tiny_task(tiny, rendered), tiny_task(tiny, rendered, regions=3)
    sample = three.samples[0]
    assert sample.region.shape == (3, 3, *three.samples.group.region)
    assert sample.box.shape == (3, 4)
    assert not torch.equal(sample.box[0], sample.box[1])
    for several, single in zip(sample, one.samples[0], strict=True):
        torch.testing.assert_close(several[:1] if several.shape != single.shape else several, single, rtol=0, atol=0)
    passes: list[int] = []
    three.psi.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    patches = three.patches(sample)
    assert passes == [1, 12]
    alone = one.patches(one.samples[0])
    torch.testing.assert_close(patches.image[:4], alone.image, rtol=0, atol=0)
    torch.testing.assert_close(patches.coarse[:4], alone.coarse)


def test_pixels_outside_the_mask_do_not_count(tiny: SimpleNamespace, rendered: Path) -> None:
    for gpct, local in itertools.product((True, False), repeat=2):
        task = tiny_task(tiny, rendered, gpct=gpct, local=local)
        batch = as_batch(task.samples[0], task.samples[1])
        batch.mask[:, :, 20:60] = False
        spoilt = batch._replace(label=torch.where(batch.mask, batch.label, torch.full_like(batch.label, 7.0)))
        assert not torch.equal(spoilt.label, batch.label)
        assert task.loss(spoilt)[0].item() == pytest.approx(task.loss(batch)[0].item())
        with_all = task.loss(spoilt._replace(mask=torch.ones_like(batch.mask)))[0]
        assert with_all.item() != pytest.approx(task.loss(batch)[0].item(), rel=1e-3)


def test_without_gpct_every_patch_is_judged_on_its_own(tiny: SimpleNamespace, rendered: Path) -> None:
    task = tiny_task(tiny, rendered, gpct=False, local=False)
    task.model.eval()
    sample = task.samples[3]
    loss, parts = task.loss(as_batch(sample))
    assert "consistency" not in parts
    group = task.samples.group
    refined = task.model(task.patches(sample))[:, 0]
    expected, _ = data_loss(refined, cut(group, sample.label[0]), cut(group, sample.mask[0]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    together = tiny_task(tiny, rendered)
    together.model.load_state_dict(task.model.state_dict())
    together.model.eval()
    assert "consistency" in together.loss(as_batch(sample))[1]


def test_what_is_not_known_of_a_label_is_masked(rendered: Path) -> None:
    def half_known() -> LabelledPicture:
        picture = list_views([rendered])[0].read()
        valid = picture.valid.copy()
        valid[:, :96] = False
        disparity = np.where(valid, picture.disparity, np.float32(50))
        return picture._replace(disparity=disparity.astype(np.float32), valid=valid)

    views = [LabelledView("half", (), half_known)]
    regions = RegionSamples(views, 0, 8, plan_group((64, 96), 0.0))
    shares = []
    for i in range(8):
        sample = regions[i]
        assert (sample.label < 8.0)[sample.mask].all()  # the 50 is neither in the statistics nor in what counts
        shares.append(sample.mask.float().mean().item())
    assert 0.2 < float(np.mean(shares)) < 0.8
    image, disparity, valid = BaseSamples(views, 0, 2, [(64, 96)], 4)[0]
    assert image.shape == (3, 64, 96)
    assert disparity[valid].max() < 2.5
    assert 0 < valid.float().mean() < 1


def test_pictures_without_depth_end_the_search(rendered: Path) -> None:
    wall = LabelledView(
        "wall", (), lambda: LabelledPicture(*(part[60:90, 85:105] for part in list_views([rendered])[0].read()))
    )
    with pytest.raises(FileError, match="nothing but sky or one flat wall"):
        RegionSamples([wall], 0, 8, plan_group((64, 96)))[0]


def test_the_hash_of_the_data_follows_its_content(rendered: Path, tmp_path: Path) -> None:
    before = views_hash(list_views([rendered]))
    moved = rendered.rename(tmp_path / "elsewhere")
    assert views_hash(list_views([moved])) == before
    assert views_hash(list_views([moved, moved])) != before
    (moved / "v1.npz").rename(moved / "v1.old")
    assert views_hash(list_views([moved])) != before


def test_psi_is_a_model_a_run_or_a_bundle(tmp_path: Path) -> None:
    bundled = load_psi_for_training("compact", "compact").state_dict()
    torch.manual_seed(1)
    own = build_psi(PRESETS["compact"]).state_dict()
    for prefix in ("", "psi."):
        save_weights(tmp_path / "own.safetensors", {prefix + key: value for key, value in own.items()})
        loaded = load_psi_for_training(str(tmp_path / "own.safetensors"), "compact").state_dict()
        torch.testing.assert_close(loaded, own, rtol=0, atol=0)
    assert any(not torch.equal(bundled[key].float(), own[key].float()) for key in own)
    with pytest.raises(InputError, match="psi is 'compakt'; give a file of weights, or one of hybrid,"):
        load_psi_for_training("compakt", "compact")
    with pytest.raises(InputError, match="architecture is 'x'; give one of hybrid,"):
        load_psi_for_training("x", "x")


def test_weights_to_train_on_are_compared_with_what_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    path = tmp_path / "model.pt"
    torch.save({"model": {"a": torch.ones(1)}, "model_config": {"remap_output": "linear"}}, path)
    with torch.device("meta"), pytest.raises(WeightsError, match="remap_output is linear, not exp"):
        load_psi_for_training(str(path), "moge-2-vits")
    monkeypatch.setattr(load, "fetch_weights", lambda *_, **__: path)
    with pytest.raises(RevisionError, match="not 79a16621928c"):
        load_psi_for_training("moge-2-vits", "compact")
    with torch.device("meta"), pytest.raises(WeightsError, match="remap_output is linear, not exp"):
        load_psi_for_training("moge-2-vits", "compact", any_revision=True)


def refiner_config(rendered: Path, out: Path, **changes: object) -> RefinerConfig:
    options = {"steps": 2, "batch": 2, "patch": (96, 64), "save_every": 2, "log_every": 1, "accelerator": "cpu"}
    return RefinerConfig(data=(rendered,), out=out, **{**options, **changes})  # type: ignore[arg-type]


def test_a_refiner_run_leaves_loadable_weights_that_another_can_start_from(rendered: Path, tmp_path: Path) -> None:
    config = refiner_config(rendered, tmp_path / "run", regions_per_image=2, overlap=0.25)
    train(refiner_task(config), config, config.out)
    weights = read_weights(tmp_path / "run/model.safetensors")
    load_strict(build_refiner(PRESETS["compact"]), weights)
    assert file_about(tmp_path / "run/model.safetensors") == {"steps": "2", TRAINED_ON: "compact"}
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert len(list((tmp_path / "run/masks").glob("*.npz"))) == 2
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {"loss", "l1", "gradient", "consistency"} <= set(log[-1])

    again = refiner_config(rendered, tmp_path / "next", initial=tmp_path / "run/model.safetensors", bfm=False)
    task = refiner_task(again)
    torch.testing.assert_close(task.model.state_dict(), weights, rtol=0, atol=0)
    assert set(task.identity) == {"data", "psi weights", "initial"}
    assert task.samples.masks is None


def test_a_patch_that_psi_does_not_take_is_refused(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="patch is 100x64; compact takes sides that are multiples of 32"):
        refiner_task(refiner_config(rendered, tmp_path, patch=(100, 64)))


@pytest.mark.parametrize("overlap", [0.0, 0.6, 0.99])
def test_any_overlap_trains(tiny: SimpleNamespace, rendered: Path, overlap: float) -> None:
    samples = RegionSamples(list_views([rendered]), 0, 2, plan_group((64, 96), overlap))
    psi = tiny.Psi()
    task = RefinerTask(psi, ProRefiner(psi.spec.feature_channels), samples)
    loss, parts = task.loss(as_batch(samples[0], samples[1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert (parts["consistency"] > 0) == (overlap > 0)


def _checked(pictures: dict[str, Tensor], names: set[str]) -> None:
    assert set(pictures) == names
    for picture in pictures.values():
        assert picture.dtype == torch.uint8
        assert picture.shape[0] == 3
        assert picture.float().std() > 0


def test_pictures_show_what_they_are_called(tiny: SimpleNamespace, rendered: Path) -> None:
    task = tiny_task(tiny, rendered, regions=2)
    task.model.eval()
    batch = as_batch(task.samples[0], task.samples[1])
    batch.mask[0, 0, :5] = False
    with torch.no_grad():
        pictures = task.pictures(task.model, batch)
    _checked(pictures, {"photo", "goal", "coarse", "refined"})
    assert pictures["photo"].shape[1:] == task.samples.group.region
    assert (pictures["goal"][:, :5] == 0).all()
    assert not torch.equal(pictures["coarse"], pictures["refined"])


def test_a_base_run_trains_the_decoder_and_the_deep_encoder(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pro_engine.training.base.SMALL_SIZES", [(64, 96)])
    save_weights(tmp_path / "first.safetensors", build_psi(PRESETS["compact"]).state_dict())
    config = BaseConfig(
        data=(rendered,), out=tmp_path / "run", steps=2, batch=2, initial=tmp_path / "first.safetensors", average=0.5
    )
    task = CompactTask(config)
    _checked(task.pictures(task.model, next(iter(torch.utils.data.DataLoader(task.samples, 2)))), {
        "photo", "label", "prediction"
    })  # fmt: skip
    first = {key: value.clone() for key, value in task.model.state_dict().items()}
    last = train(task, config, config.out).state_dict()
    changed = {key for key in first if not torch.equal(first[key], last[key])}
    assert any(key.startswith("encoder.") for key in changed)
    assert not any(key.startswith("encoder.stem") or key.startswith("encoder.blocks.0.") for key in changed)
    assert not any(key.startswith("encoder.") and "running_" in key for key in changed)
    assert not any("depthwise.0" in key for key in changed)
    assert {key.partition(".")[0] for key in changed} > {"encoder", "reduce", "context", "fuse16", "head"}


def test_folders_of_both_kinds_are_read_together(rendered: Path, tmp_path: Path) -> None:
    unreal = tmp_path / "unreal" / "00000"
    for folder in ("Image0", "Disp0", "Extrinsics0", "Extrinsics1"):
        (unreal / folder).mkdir(parents=True)
    disparity = np.full((48, 64), 20.0, dtype=np.float32)
    disparity[10:30, 10:30] = 40.0
    disparity[:5] = 0.0  # not known
    for number in ("00001", "00002"):
        cv2.imwrite(str(unreal / "Image0" / f"{number}.png"), np.full((48, 64, 3), (10, 20, 30), np.uint8))
        np.save(unreal / "Disp0" / f"{number}.npy", disparity)
        for camera, x in ((0, 0.0), (1, -0.5)):
            pose = f"1 0 0 {x} 0 1 0 0 0 0 1 0"
            (unreal / f"Extrinsics{camera}" / f"{number}.txt").write_text(f"100 0 32 0 100 24 0 0 1\n{pose}\n")
    views = list_views([rendered, tmp_path / "unreal"])
    assert [view.name for view in views] == ["v0.jpg", "v1.jpg", "00000/00001", "00000/00002"]
    image, found, valid = views[2].read()
    assert image[0, 0].tolist() == [30, 20, 10]
    assert not valid[:5].any() and valid[5:].all()
    assert found[20, 20] == pytest.approx(40 / (100 * 0.5))  # disparity / (focal length * baseline) is 1 / metres
    assert RegionSamples(views[2:], 0, 2, plan_group((32, 32)))[0].mask.any()

    (tmp_path / "unreal/splits").mkdir()
    (tmp_path / "unreal/splits/train.txt").write_text("/00000/Image0/00002.raw a b c\n")
    assert [view.name for view in list_views([tmp_path / "unreal"])] == ["00000/00002"]


def test_masks_lie_on_the_pixels_they_were_made_for(rendered: Path) -> None:
    """Through mirroring and cropping: the mask is the right part of the picture, and only there is the label large."""

    class RightPart:
        def mask(self, view: int, rng: np.random.Generator) -> np.ndarray:
            return np.repeat(np.arange(96)[None] >= 60, 64, axis=0)  # from 120 of the picture's 192 columns on

    def two_planes() -> LabelledPicture:
        picture = list_views([rendered])[0].read()
        disparity = np.full((144, 192), 0.1, dtype=np.float32)
        disparity[:, 120:] = 0.5
        return picture._replace(disparity=disparity)

    regions = RegionSamples(
        [LabelledView("planes", (), two_planes)], 0, 12, plan_group((64, 96)), regions=2, masks=RightPart()
    )
    samples = [regions[i] for i in range(12)]
    for sample in samples:
        right = sample.label == sample.label.max() if sample.label.std() > 0 else sample.mask
        assert (right == sample.mask).float().mean() > 0.97  # a column of cells may straddle the border
    mixed = [s for s in samples if 0 < s.mask[0].float().mean() < 1]
    assert {bool(s.mask[0, 0, 0]) for s in mixed} == {True, False}  # mirrored ones are among them

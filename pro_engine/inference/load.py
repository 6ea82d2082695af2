"""A model by name: a preset's networks and weights put together."""

from __future__ import annotations

import difflib
import os
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pro_engine.errors import InputError, WeightsError
from pro_engine.inference import runtime
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.weights import (
    RevisionError,
    bundled_weights,
    cached_weights,
    fetch_weights,
    file_about,
    read_weights,
    read_weights_and_config,
)
from pro_engine.models.checkpoint import load_strict, part_or_all
from pro_engine.models.contract import DepthBase, Refiner
from pro_engine.models.outline_net import OutlineNet
from pro_engine.models.presets import (
    MAP_REFINER,
    NEWEST,
    PRESETS,
    TRAINED_ON,
    ModelPreset,
    WeightsFile,
    build_psi,
    load_psi,
    load_refiner,
)
from pro_engine.options import ModelOptions, OptionError, check

if TYPE_CHECKING:
    from pro_engine.io.weights import Content

PathLike = str | os.PathLike[str]
OUTLINES = WeightsFile("outlines.safetensors", "Apache-2.0")
"""The network that says where outlines are, for every Ψ (`models/outline_net.py`)."""
LIGHT = "compact"
"""The preset that looks at the patches of large ones, and that small machines keep to."""
_LARGE_PARAMETERS = 100_000_000  # of a Ψ that takes many seconds a patch on a CPU
_MARK_VALUES = 64


def load_model(
    name: str = ModelOptions.name,
    *,
    device: str = ModelOptions.device,
    dtype: str = ModelOptions.dtype,
    offline: bool = ModelOptions.offline,
    weights: PathLike | None = ModelOptions.weights,
    refiner_weights: PathLike | None = ModelOptions.refiner_weights,
    cache_dir: PathLike | None = ModelOptions.cache_dir,
    backend: str = ModelOptions.backend,
    fine: str = ModelOptions.fine,
    any_revision: bool = ModelOptions.any_revision,
) -> DepthPredictor:
    """A preset's networks with their weights, ready to infer.

    Args:
        name: of a preset; `pro-engine models` lists them.
        device: "auto" (CUDA, else Apple's MPS, else CPU), "cpu", "cuda", "cuda:N" or "mps".
        dtype: "auto" (float32; on CUDA bfloat16 or float16; bfloat16 on processors that compute in it, where nothing is
            lost), "float32", "bfloat16", "float16", or "int8" for a CPU's refiner, if it pays, and bfloat16 beside it.
        offline: use files that are here and never reach for the network.
        weights: a file of weights for Ψ instead of the preset's; one with a refiner in it brings that along, one
            without gets the refiner for any Ψ, as the preset's own belongs to other weights.
        refiner_weights: a file for the refiner: one of ours, or the published PRO checkpoint for this Ψ's width.
        cache_dir: where downloads are kept, instead of the hub's own folder.
        backend: "torch", or "onnxruntime", which runs in float32 what `pro-engine export` left in the folder `weights`.
        fine: the preset of the Ψ that looks at the patches, with its own refiner, or the one for any Ψ if it has none;
            "same" for the model itself, or "auto": the one that the preset names; compact beside one of more than
            100 M parameters on a CPU; else or with `refiner_weights` the same.
        any_revision: take a preset's weights of whatever revision is in the cache, else the newest, unchecked.

    Raises:
        InputError: no such preset, device, dtype or backend, or options that a backend does not have.
        DeviceError: the device is not there, or does not run the dtype.
        WeightsError: weights are missing, damaged, of another network or revision, or cannot be fetched.
        DependencyError: the preset needs a package that is not installed.
    """
    check(ModelOptions, "backend", backend)
    preset = preset_of(name)
    target = str(runtime.resolve_device(device))  # before minutes are spent on loading
    if backend == "onnxruntime":
        return _load_onnx(preset, target, dtype, weights, refiner_weights, fine)
    psi = build_psi(preset, empty=True)
    if refiner_weights is not None and fine == ModelOptions.fine:
        fine = "same"  # it may look at features
    for_patches = fine_preset(preset, fine, sum(one.numel() for one in psi.parameters()), torch.device(target))
    fetch = partial(preset_weights, offline=offline, cache_dir=cache_dir, any_revision=any_revision)
    tensors = fill(psi, preset, fetch(preset.weights) if weights is None else _weights_of(preset, weights))
    looking, of_looking, other = preset, tensors, None
    if for_patches is not None:
        looking, other = for_patches, build_psi(for_patches, empty=True)
        of_looking = fill(other, for_patches, fetch(for_patches.weights))
    refiner, refining = _refiner_of(looking, of_looking, refiner_weights)
    outlines = _outlines() if refiner.sharpens else None
    built = partial(DepthPredictor, psi, refiner, outlines=outlines, name=preset.name, device=target, dtype=dtype)
    if for_patches is None:
        return built(mark=_mark_of(tensors, refining))
    share = preset.share if for_patches.name == preset.fine else 0.0
    mark = _mark_of(tensors, refining, of_looking)
    return built(fine=other, fine_name=for_patches.name, share=share, mark=mark)


def _refiner_of(
    preset: ModelPreset, tensors: Mapping[str, Tensor], path: PathLike | None
) -> tuple[Refiner, Mapping[str, Tensor]]:
    """The refiner for a Ψ with these tensors and what it was made from: a user's file, else its own, else any one's."""
    own = preset.refiner_weights
    if path is not None:
        given = read_weights(path)
        return load_refiner(preset, given, trained_on=file_about(path).get(TRAINED_ON, "")), given
    if own is None or not any(key.startswith(own.prefix) for key in tensors):
        tensors = preset_weights(MAP_REFINER)[0]
    return load_refiner(preset, tensors), tensors


def _outlines() -> OutlineNet:
    """The network that says where outlines are, the same for every Ψ."""
    with torch.device("meta"):
        network = OutlineNet()
    load_strict(network, preset_weights(OUTLINES)[0], what="network for outlines")
    return network


def _weights_of(preset: ModelPreset, path: PathLike) -> Content:
    """What a user's file holds. WeightsError: it cannot be read, or says that it is of another preset."""
    content = read_weights_and_config(path)
    said = file_about(path).get("model")
    if said in PRESETS and said != preset.name:
        raise WeightsError(f"{path} holds weights of {said}, not of {preset.name}; name that model.")
    return content


def fine_preset(preset: ModelPreset, fine: str, parameters: float, device: torch.device) -> ModelPreset | None:
    """The Ψ for the patches of one that has this many parameters, by the option `fine`; None for the same one.

    Raises:
        InputError: no such preset.
    """
    check(ModelOptions, "fine", fine)
    if fine == "auto" and preset.fine:
        fine = preset.fine
    elif fine == "auto":
        fine = LIGHT if parameters > _LARGE_PARAMETERS and device.type == "cpu" else "same"
    return None if fine in ("same", preset.name) else preset_of(fine)


def load(options: ModelOptions) -> DepthPredictor:
    """The model that `options` ask for. Raises the errors of `load_model`."""
    return load_model(**vars(options))


class ModelHolder:
    """The model last asked for, and no other: its memory is needed for the next. Used from one thread at a time."""

    def __init__(self) -> None:
        self._options: ModelOptions | None = None
        self._predictor: DepthPredictor | None = None

    def get(self, options: ModelOptions, *, before: Callable[[], object]) -> DepthPredictor:
        """The model, loaded now if another one was asked for last, or it failed; `before` is called before that.

        Raises the errors of `load_model`.
        """
        if self._predictor is None or options != self._options:
            before()
            self._predictor = None
            self._predictor, self._options = load(options), options
        return self._predictor


def _load_onnx(
    preset: ModelPreset, device: str, dtype: str, folder: PathLike | None, refiner_weights: PathLike | None, fine: str
) -> DepthPredictor:
    from pro_engine.inference.onnx import load_onnx

    if dtype not in ("auto", "float32") or refiner_weights is not None or fine != ModelOptions.fine:
        sentence = "onnxruntime computes in float32, with the networks that were exported; leave out {0}, {1} and {2}."
        raise OptionError(sentence, "dtype", "refiner_weights", "fine")
    if folder is None:
        raise InputError(
            f"onnxruntime needs an export as its weights; run: pro-engine export --model {preset.name} --out FOLDER"
        )
    psi, refiner, other = load_onnx(Path(folder), torch.device(device))
    if psi.name != preset.name:
        raise InputError(f"{folder} holds {psi.name}, not {preset.name}; name that model.")
    names = {"name": psi.name, "fine_name": "" if other is None else other.name}
    mark = psi.mark + refiner.mark + ("" if other is None else other.mark)
    outlines = _outlines() if refiner.sharpens else None
    return DepthPredictor(
        psi, refiner, fine=other, share=psi.share, outlines=outlines, **names, mark=mark, device=device, dtype="float32"
    )


def _mark_of(*files: Mapping[str, Tensor]) -> str:
    """Eight letters that tell weights from others: the CRC-32 of some values of every tensor."""
    checksum = 0
    for name, values in (item for tensors in files for item in sorted(tensors.items())):
        some = values.flatten()[:: max(1, values.numel() // _MARK_VALUES)].float()
        checksum = zlib.crc32(some.numpy().tobytes(), zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"


def preset_of(name: str) -> ModelPreset:
    """The preset of this name. Raises InputError: there is none."""
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    close = difflib.get_close_matches(str(name), PRESETS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise InputError(f"There is no model {name!r}{hint}; give one of {', '.join(PRESETS)}.")


def fill(psi: DepthBase, preset: ModelPreset, content: Content) -> dict[str, Tensor]:
    """Load what a file of a preset holds into its Ψ from `build_psi`; all its tensors come back.

    Raises:
        WeightsError: they do not fit.
    """
    tensors, config = content
    load_psi(psi, part_or_all(tensors, preset.weights.prefix), config)
    assert not any(one.is_meta for one in (*psi.parameters(), *psi.buffers())), preset.name
    return tensors


def preset_weights(
    file: WeightsFile,
    *,
    offline: bool = ModelOptions.offline,
    cache_dir: PathLike | None = ModelOptions.cache_dir,
    any_revision: bool = ModelOptions.any_revision,
) -> Content:
    """What a preset's file holds: from the package, the cache or the hub; options as of `load_model`.

    Raises:
        RevisionError: it is not the file that is pinned. WeightsError: it is damaged, or cannot be fetched.
        DependencyError: huggingface_hub is not installed.
    """
    if file.repo is None:
        return read_weights_and_config(bundled_weights(file.filename))
    known = partial(cached_weights, file.repo, file.filename, cache_dir=cache_dir)
    revision = file.revision
    if any_revision:
        revision = next((one for one in (NEWEST, revision) if known(revision=one) is not None), NEWEST)
    elif offline and known(revision=revision) is None and known(revision=NEWEST) is not None:
        raise RevisionError(
            f"The cache holds {file.filename} of {file.repo} in another revision than {revision[:12]}, which is "
            "pinned; load the model once online, or set {0} to take it as it is.",
            "any_revision",
        )
    path = fetch_weights(
        file.repo,
        file.filename,
        licence=file.licence,
        caution=file.why,
        revision=revision,
        offline=offline,
        cache_dir=cache_dir,
    )
    return read_weights_and_config(path, sha256=None if any_revision else file.sha256)

"""Loading weights strictly: every tensor of the module from the file, every tensor of the file into the module.

Also the one map between our parameter names and those of the published PRO checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pro_engine.errors import WeightsError
from pro_engine.models.fusion import HAAR
from pro_engine.models.refiner_published import ProRefiner

OFFICIAL_KEYS = (
    (r"^fusion\.encoder\.first\.", "freq_fusion.inc.double_conv."),
    (r"^fusion\.encoder\.deeper\.(\d)\.", r"freq_fusion.down_conv_list.\1.maxpool_conv.1.double_conv."),
    (r"^fusion\.wavelets\.(\d)\.low\.", r"freq_fusion.wavelet_fusion_convs.\1.low_freq_conv."),
    (r"^fusion\.wavelets\.(\d)\.high\.", r"freq_fusion.wavelet_fusion_convs.\1.high_freq_conv."),
    (r"^fusion\.mixes\.(\d)\.", r"freq_fusion.fusion_convs.\1.double_conv."),
    (r"^head\.block(\d)\.skip_unit\.", r"depth_head.scratch.refinenet\1.resConfUnit1."),
    (r"^head\.block(\d)\.unit\.", r"depth_head.scratch.refinenet\1.resConfUnit2."),
    (r"^head\.block(\d)\.project\.", r"depth_head.scratch.refinenet\1.out_conv."),
    (r"^head\.join\.", "depth_head.scratch.output_conv1."),
    (r"^head\.last\.", "depth_head.scratch.output_conv2."),
)
"""Beginning of a key of `ProRefiner` -> beginning of the same key in the published checkpoint."""

_HAAR_KEY = re.compile(r"freq_fusion\.wavelet_fusion_convs\.\d\.wave_transofrm\.haar_(ll|lh|hl|hh)")
_HAAR_BANDS = ("ll", "lh", "hl", "hh")
_WRAPPERS = ("model", "state_dict", "model_dict", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_PSI_PREFIXES = ("coarse_branch.", "fine_branch.")
_NAMED = 3


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    what: str = "model",
    key_in_file: Callable[[str], str] = str,
) -> None:
    """Copies `tensors` into `module`, all of them and nothing else; the module keeps its own type and device. One on
    the meta device takes them as they are, in its type, so that no weights are held twice.

    what: the name of the network for messages; key_in_file: from the module's key to the file's. Where it gives one
    name to several keys, the file holds their tensors as one, in the module's order along the first axis. Counters of
    batches seen (`num_batches_tracked`), which no result depends on, may be absent.

    Raises:
        WeightsError: a key is missing or unexpected, a shape differs, a tensor holds no floats where the module does,
            or all of them are 0; the module is left as it was.
    """
    wanted: dict[str, dict[str, Tensor]] = {}
    for key, value in module.state_dict().items():
        wanted.setdefault(key_in_file(key), {})[key] = value
    missing = [key for key in wanted if key not in tensors and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in tensors if key not in wanted]
    shapes = [
        f"{key} is {tuple(tensors[key].shape)} instead of {_joined_shape(parts)}"
        for key, parts in wanted.items()
        if key in tensors and tuple(tensors[key].shape) != _joined_shape(parts)
    ]
    kinds = [
        f"{key} is {str(tensors[key].dtype).removeprefix('torch.')}"
        for key, parts in wanted.items()
        if key in tensors
        and any(part.is_floating_point() and not part.is_meta for part in parts.values())
        and not _holds_floats(tensors[key])
    ]
    problems = [
        f"{len(found)} {kind} ({_some(found)})"
        for kind, found in (
            ("keys missing", missing),
            ("unexpected keys", unexpected),
            ("wrong shapes", shapes),
            ("wrong types", kinds),
        )
        if found
    ]
    if problems:
        raise WeightsError(
            f"These weights do not fit the {what}: {'; '.join(problems)}; use the weights that belong to this model."
        )
    floats = [tensor for tensor in tensors.values() if _holds_floats(tensor)]
    if floats and not any(bool(tensor.any()) for tensor in floats):
        raise WeightsError(f"All weights of the {what} are 0; the file was never filled: get it again.")
    state: dict[str, Tensor] = {}
    for name, parts in wanted.items():
        if name in tensors:
            tensor = tensors[name]
            split = (tensor,) if len(parts) == 1 else tensor.split([len(value) for value in parts.values()])
            state.update(zip(parts, split, strict=True))
    _take(module, state)


def _take(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copies into what the module holds; what it has on the meta device becomes the tensors themselves, counters 0."""
    own = module.state_dict()
    bare = {key for key, value in own.items() if value.is_meta}
    taken = {key: state[key].to(own[key].dtype) for key in bare & state.keys()}
    taken |= {key: torch.zeros_like(own[key], device="cpu") for key in bare - state.keys()}
    module.load_state_dict(taken, strict=False, assign=True)
    module.load_state_dict({key: value for key, value in state.items() if key not in bare}, strict=False)


def part_or_all(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it; a file that does not use the prefix is meant as a whole."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)} or dict(tensors)


def renamed(key: str, table: Iterable[tuple[str, str]]) -> str:
    """`key` by the first pattern of the table that it matches, (regular expression, replacement).

    Raises:
        KeyError: none matches.
    """
    for pattern, replacement in table:
        name, count = re.subn(pattern, replacement, key)
        if count:
            return name
    raise KeyError(key)


def official_key(key: str) -> str:
    """The name that a parameter or buffer of `ProRefiner` has in the published checkpoint.

    Raises:
        KeyError: not a key of `ProRefiner`.
    """
    return renamed(key, OFFICIAL_KEYS)


def load_official(refiner: ProRefiner, checkpoint: Mapping[str, Any]) -> None:
    """Loads a published PRO checkpoint into a refiner of the same width, strictly.

    checkpoint: what the file holds, under the official names; it may be wrapped ({"model": ...}) and its keys may start
    with `module.`. The Haar filters in it must be the ones we compute with. Weights of the frozen Ψ (`coarse_branch.`),
    where a checkpoint has them, are left aside: Ψ is loaded on its own.

    Raises:
        WeightsError: a key is missing or unexpected, a shape differs, or the wavelet is another one.
    """
    tensors = {}
    for key, value in _unwrapped(checkpoint).items():
        name = _without_prefixes(key)
        if _HAAR_KEY.fullmatch(name):
            _check_haar(name, value)
        elif not name.startswith(_PSI_PREFIXES):
            tensors[name] = value
    load_strict(refiner, tensors, what=f"PRO refiner of width {refiner.channels[0]}", key_in_file=official_key)


def _unwrapped(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    for name in _WRAPPERS:
        inner = checkpoint.get(name)
        if isinstance(inner, Mapping):
            return _unwrapped(inner)
    if not checkpoint or not all(isinstance(value, Tensor) for value in checkpoint.values()):
        raise WeightsError("The checkpoint is not a mapping from names to tensors; give the published PRO weights.")
    return checkpoint


def _without_prefixes(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _check_haar(key: str, filters: Tensor) -> None:
    """filters: (C, 1, 2, 2), the same for every channel."""
    ours = torch.tensor(HAAR[_HAAR_BANDS.index(key[-2:])])
    is_kernel = _holds_floats(filters) and filters.shape[1:] == (1, 2, 2)
    if not is_kernel or not torch.equal(filters.float().cpu(), ours.expand(len(filters), 1, 2, 2)):
        raise WeightsError(f"{key} is not the Haar filter of the published PRO; use a checkpoint of that network.")


def _joined_shape(parts: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The shape of all parts, one after the other along the first axis."""
    first, *others = parts.values()
    if not others:
        return tuple(first.shape)
    return (sum(len(value) for value in parts.values()), *first.shape[1:])


def _holds_floats(tensor: Tensor) -> bool:
    """Whether it is a dense tensor of real floats with values."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta


def _some(items: Iterable[str]) -> str:
    """The first few of many, for a message."""
    found = list(items)
    return ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")

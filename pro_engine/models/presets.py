"""The models by name. A preset says what a model is and where its weights come from; no file is touched here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pro_engine.models.checkpoint import load_official, load_strict, part_or_all
from pro_engine.models.contract import DepthBase, PsiSpec, Refiner
from pro_engine.models.depth_anything import DepthAnything, Size, depth_anything_spec
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import ProRefiner

Use = Literal["free", "research", "unclear"]

_REFINER_PREFIX = "refiner."


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: in the package (`repo` is None) or in a repository of the Hugging Face hub.

    use: what the licence allows: "free" is commercial use, too; "unclear" where those who published the weights
    contradict themselves or say nothing. why: the sentence that says so, for all that is not free. prefix: only keys
    that start with it are meant, and they are meant without it. sha256: of the file, or None where only the hub's own
    check applies. megabytes: what is to be downloaded.
    """

    filename: str
    licence: str
    use: Use = "free"
    why: str = ""
    repo: str | None = None
    revision: str = "main"
    sha256: str | None = None
    prefix: str = ""
    megabytes: int = 0

    def __post_init__(self) -> None:
        assert bool(self.why) == (self.use != "free"), self
        assert bool(self.megabytes) == (self.repo is not None), self


@dataclass(frozen=True)
class ModelPreset:
    """A Ψ, its refiner and their weights.

    size: which of the family's sizes, where it has several. refiner_weights: of a PRO refiner for exactly the feature
    channels in `spec`; None where there is none and the refiner for any Ψ serves (`MAP_REFINER`).
    """

    name: str
    summary: str
    family: Literal["compact", "depth-anything"]
    spec: PsiSpec
    weights: WeightsFile
    refiner_weights: WeightsFile | None = None
    size: Size | None = None


def _compact() -> ModelPreset:
    spec = PsiSpec(feature_channels=(96, 64, 48, 32, 16, 8), input_area=304 * 304, multiple=32, keep_aspect=True)
    file, licence = "compact.safetensors", "Apache-2.0"
    return ModelPreset(
        name="compact",
        summary="Our own small network; comes with the package and runs well on a CPU",
        family="compact",
        spec=spec,
        weights=WeightsFile(file, licence, prefix="psi."),
        refiner_weights=WeightsFile(file, licence, prefix=_REFINER_PREFIX),
    )


def _depth_anything(size: Size, summary: str, megabytes: int) -> ModelPreset:
    repo = f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf"
    free = size == "small"
    return ModelPreset(
        name=f"depth-anything-v2-{size}",
        summary=summary,
        family="depth-anything",
        spec=depth_anything_spec(size),
        weights=WeightsFile(
            "model.safetensors",
            licence="Apache-2.0" if free else "CC-BY-NC-4.0",
            use="free" if free else "research",
            why="" if free else "Its licence forbids commercial use.",
            repo=repo,
            megabytes=megabytes,
        ),
        size=size,
    )


MAP_REFINER = WeightsFile("maps.safetensors", "Apache-2.0", prefix=_REFINER_PREFIX)
"""The refiner for any Ψ, which looks at maps and image only (`models/refiner_maps.py`)."""

PRESETS: dict[str, ModelPreset] = {
    preset.name: preset
    for preset in (
        _compact(),
        _depth_anything("small", "Depth Anything V2 small, 25 M parameters", 99),
        _depth_anything("base", "Depth Anything V2 base, 97 M parameters", 390),
        _depth_anything("large", "Depth Anything V2 large, 335 M parameters", 1341),
    )
}


def build_psi(preset: ModelPreset) -> DepthBase:
    """The preset's Ψ with random weights.

    Raises:
        DependencyError: a package is missing; the message names the extra.
    """
    if preset.family == "compact":
        from pro_engine.models.compact import CompactDepth

        return CompactDepth(preset.spec)
    return DepthAnything.from_size(preset.size or "small")


def build_refiner(preset: ModelPreset) -> Refiner:
    """The preset's refiner with random weights: a PRO refiner, or the one for any Ψ."""
    return MapRefiner() if preset.refiner_weights is None else build_pro_refiner(preset)


def build_pro_refiner(preset: ModelPreset) -> Refiner:
    """A PRO refiner for the preset's Ψ with random weights: the light one for our own, else the published network."""
    channels = preset.spec.feature_channels
    return LightRefiner(channels) if preset.family == "compact" else ProRefiner(channels)


def load_psi(psi: DepthBase, tensors: Mapping[str, Tensor]) -> None:
    """Loads the tensors of a preset's weights file (without its prefix) into a Ψ from `build_psi`, strictly.

    Raises:
        WeightsError: they do not fit.
    """
    if isinstance(psi, DepthAnything):
        psi.load_published(tensors)
    else:
        load_strict(psi, tensors, what=type(psi).__name__)


def load_refiner(preset: ModelPreset, tensors: Mapping[str, Tensor]) -> Refiner:
    """The refiner that a file holds: for any Ψ, or for the preset's, ours or the published checkpoint.

    Raises:
        WeightsError: the tensors do not fit.
    """
    if any("freq_fusion." in key for key in tensors):
        official = ProRefiner(preset.spec.feature_channels, start="coarse")
        load_official(official, tensors)
        return official
    tensors = part_or_all(tensors, _REFINER_PREFIX)
    parts = {key.partition(".")[0] for key in tensors}
    if parts == {"encoder", "head"}:
        anyones = MapRefiner()
        load_strict(anyones, tensors, what="refiner for any Ψ")
        return anyones
    refiner = ProRefiner(preset.spec.feature_channels) if "fusion" in parts else build_pro_refiner(preset)
    load_strict(refiner, tensors, what=f"refiner of {preset.name}")
    return refiner

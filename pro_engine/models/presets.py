"""The models by name. A preset says what a model is and where its weights come from; no file is touched here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from pro_engine.errors import WeightsError
from pro_engine.models.checkpoint import load_official, load_strict, part_or_all
from pro_engine.models.compact import CompactDepth
from pro_engine.models.contract import DepthBase, PsiSpec, Refiner
from pro_engine.models.depth_anything import DepthAnything, Size, depth_anything_spec
from pro_engine.models.depth_anything3 import DepthAnything3, depth_anything3_spec
from pro_engine.models.depth_pro import DepthPro, depth_pro_spec
from pro_engine.models.moge import VITB, VITL, VITL_WITHOUT_NORMALS, VITS, MogeShape
from pro_engine.models.moge_depth import MogeDepth, moge_spec
from pro_engine.models.prompt_da import PromptDepthAnything, prompt_depth_anything_spec
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import ProRefiner
from pro_engine.models.vit import VIT_HEADS_SPEC, VitDepth

Use = Literal["free", "research", "unclear"]

NEWEST = "main"
"""The revision of a hub's repository that moves with every change."""
TRAINED_ON = "psi"
"""Where the header of a refiner's file names the preset whose features it was trained on."""

_REFINER_PREFIX = "refiner."


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: in the package (`repo` is None) or in a repository of the Hugging Face hub.

    use: what the licence allows: "free" is commercial use, too; "unclear" where those who published the weights
    contradict themselves or say nothing. why: the sentence that says so, for all that is not free. prefix: only keys
    that start with it are meant, and they are meant without it. sha256: of the file, or None where only the hub's own
    check applies. revision: a commit, or `NEWEST` where none is pinned. megabytes: what is to be downloaded.
    """

    filename: str
    licence: str
    use: Use = "free"
    why: str = ""
    repo: str | None = None
    revision: str = NEWEST
    sha256: str | None = None
    prefix: str = ""
    megabytes: int = 0

    def __post_init__(self) -> None:
        assert bool(self.why) == (self.use != "free"), self
        assert bool(self.megabytes) == (self.repo is not None), self


@dataclass(frozen=True)
class Effort:
    """What a Ψ is: its parameters in millions; and what one pass over a whole picture of 4:3 takes, which
    `benchmarks/cost.py` checks: 10^9 operations (an addition and a multiplication are two), and megabytes beside the
    weights in float32. 0: nobody has looked."""

    parameters_m: float = 0
    gflop: float = 0
    work_mb: int = 0


@dataclass(frozen=True)
class ModelPreset:
    """A Ψ, its refiner and their weights.

    build: makes the Ψ with random weights. refiner_weights: of a PRO refiner for exactly the feature channels in
    `spec`; None where there is none and the refiner for any Ψ serves (`MAP_REFINER`). official_refiner: False where a
    published PRO checkpoint would fit the features, but was not trained on them. effort: for estimates before a run.
    fine: the preset that looks at the patches unless another one is asked for, "" for this one or by its size; share:
    how much of the coarse map is that one's.
    """

    name: str
    summary: str
    build: Callable[[], DepthBase]
    spec: PsiSpec
    weights: WeightsFile
    refiner_weights: WeightsFile | None = None
    official_refiner: bool = True
    effort: Effort = Effort()
    fine: str = ""
    share: float = 0.0


def _compact() -> ModelPreset:
    spec = PsiSpec(feature_channels=(96, 64, 48, 32, 16, 8), input_area=304 * 304, multiple=32, keep_aspect=True)
    file, licence = "compact.safetensors", "Apache-2.0"
    return ModelPreset(
        name="compact",
        summary="Our own small network; comes with the package and runs well on a CPU",
        build=partial(CompactDepth, spec),
        spec=spec,
        weights=WeightsFile(file, licence, prefix="psi."),
        refiner_weights=WeightsFile(file, licence, prefix=_REFINER_PREFIX),
        effort=Effort(3.8, 2.6, 20),
    )


def _hybrid() -> ModelPreset:
    return ModelPreset(
        name="hybrid",
        summary="Our own vision transformer for the whole picture, with compact for the patches; in the package",
        build=partial(VitDepth, VIT_HEADS_SPEC),
        spec=VIT_HEADS_SPEC,
        weights=WeightsFile("hybrid.safetensors", "Apache-2.0", prefix="psi."),
        effort=Effort(23.5, 32, 300),
        fine="compact",
        share=0.5,
    )


def _depth_anything(size: Size, effort: Effort, megabytes: int) -> ModelPreset:
    repo = f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf"
    free = size == "small"
    return ModelPreset(
        name=f"depth-anything-v2-{size}",
        summary=f"Depth Anything V2 {size}, {effort.parameters_m:.0f} M parameters",
        build=partial(DepthAnything.from_size, size),
        spec=depth_anything_spec(size),
        effort=effort,
        weights=WeightsFile(
            "model.safetensors",
            licence="Apache-2.0" if free else "CC-BY-NC-4.0",
            use="free" if free else "research",
            why="" if free else "Its licence forbids commercial use.",
            repo=repo,
            megabytes=megabytes,
        ),
    )


def _depth_anything_metric(place: str, max_depth: int, trained_on: str, *, revision: str, sha256: str) -> ModelPreset:
    return ModelPreset(
        name=f"da2-metric-{place}-small",
        summary=f"Depth Anything V2 small for metres up to {max_depth}, {trained_on}, 25 M parameters",
        build=partial(DepthAnything.from_size, "small", max_depth=max_depth),
        spec=depth_anything_spec("small", metric=True),
        official_refiner=False,
        effort=Effort(24.8, 168, 700),
        weights=WeightsFile(
            "model.safetensors",
            licence="none stated",
            use="unclear",
            why="The page of these weights names no licence.",
            repo=f"depth-anything/Depth-Anything-V2-Metric-{place.capitalize()}-Small-hf",
            revision=revision,
            sha256=sha256,
            megabytes=99,
        ),
    )


def _depth_anything3(kind: str, summary: str, revision: str, sha256: str) -> ModelPreset:
    metric = kind == "metric"
    return ModelPreset(
        name=f"da3-{kind}-large",
        summary=f"Depth Anything 3, {summary}, with the sky, 334 M parameters",
        build=partial(DepthAnything3, metric=metric),
        spec=depth_anything3_spec(metric=metric),
        official_refiner=False,
        effort=Effort(334.2, 894, 900),
        weights=WeightsFile(
            "model.safetensors",
            "Apache-2.0",
            repo=f"depth-anything/DA3{kind.upper()}-LARGE",
            revision=revision,
            sha256=sha256,
            megabytes=1337,
        ),
    )


def _prompt_depth_anything(size: Size, effort: Effort, megabytes: int, why: str = "") -> ModelPreset:
    letter = size[0]
    return ModelPreset(
        name=f"promptda-{size}",
        summary=f"Prompt Depth Anything {size}, can be told a coarse depth, {effort.parameters_m:.0f} M parameters",
        build=partial(PromptDepthAnything.from_size, size, max_depth=1),
        spec=prompt_depth_anything_spec(size),
        official_refiner=False,
        effort=effort,
        weights=WeightsFile(
            "model.safetensors",
            "Apache-2.0",
            use="unclear" if why else "free",
            why=why,
            repo=f"depth-anything/prompt-depth-anything-vit{letter}-hf",
            megabytes=megabytes,
        ),
    )


def _depth_pro() -> ModelPreset:
    return ModelPreset(
        name="depth-pro",
        summary="Depth Pro, metres and a lens of its own; 952 M parameters, 9 GB of memory, minutes a pass on a CPU",
        build=DepthPro.as_published,
        spec=depth_pro_spec(),
        effort=Effort(952, 19_247, 5000),
        weights=WeightsFile(
            "model.safetensors",
            licence="Apple-AMLR",
            use="research",
            why="Its licence allows research only.",
            repo="apple/DepthPro-hf",
            megabytes=1904,
        ),
    )


def _moge(size: str, shape: MogeShape, effort: Effort, megabytes: int, *, revision: str, sha256: str) -> ModelPreset:
    normals = "-normal" if shape.normals else ""
    told = "metres, lens, sky and normals" if normals else "metres, lens and sky"
    return ModelPreset(
        name=f"moge-2-{size}" + ("" if normals else "-without-normals"),
        summary=f"MoGe-2, {told} of its own, {effort.parameters_m:.0f} M parameters",
        build=partial(MogeDepth, shape),
        spec=moge_spec(shape),
        effort=effort,
        weights=WeightsFile(
            "model.pt",
            "MIT",
            repo=f"Ruicheng/moge-2-{size}{normals}",
            revision=revision,
            sha256=sha256,
            megabytes=megabytes,
        ),
    )


MAP_REFINER = WeightsFile("maps.safetensors", "Apache-2.0", prefix=_REFINER_PREFIX)
"""The refiner for any Ψ, which looks at maps and image only (`models/refiner_maps.py`)."""

PRESETS: dict[str, ModelPreset] = {
    preset.name: preset
    for preset in (
        _hybrid(),
        _compact(),
        _depth_anything("small", Effort(24.8, 115, 450), 99),
        _depth_anything("base", Effort(97.5, 381, 650), 390),
        _depth_anything("large", Effort(335.3, 1304, 1400), 1341),
        _depth_anything_metric(
            "indoor",
            20,
            "trained on rendered rooms",
            revision="8078d68a9c75a972131914f6afd0c1723be0da7f",
            sha256="e990eb82fbf11b05b7813261196a2b841bdcf5a05f64396724a8987fa90504a3",
        ),
        _depth_anything_metric(
            "outdoor",
            80,
            "trained on rendered streets",
            revision="fd2c22027eaf20374204f14099b8341e1925ad39",
            sha256="ad065c77a7421ca55159a1f0db9433397a607690f2d76bb8a6fc54b1be7a3124",
        ),
        _depth_anything3(
            "mono",
            "relative",
            revision="f465978e618db8cc79c83b8bbf24964857db1875",
            sha256="7a799a7f95eb8d4c404c2ca8be3dc3276b350a417ddc4420db72ba850cc0e960",
        ),
        _depth_anything3(
            "metric",
            "metres where the lens is known",
            revision="4010e39f3634a45bc60553321fb49fb760bd594e",
            sha256="bbea5b0b3ee389849cffa7ddae89de064a90abd2b055fc5aa99aac68db324776",
        ),
        _prompt_depth_anything("small", Effort(25.1, 508, 1050), 100),
        _prompt_depth_anything(
            "large",
            Effort(340.0, 4664, 3900),
            1360,
            why="Its page says Apache-2.0, but Depth Anything V2 large, which it was trained from, is CC-BY-NC-4.0.",
        ),
        _depth_pro(),
        _moge(
            "vits",
            VITS,
            Effort(35.1, 1207, 2100),
            141,
            revision="679230677b4d282c6f304189a93e98e14f085902",
            sha256="79a16621928c2bf0ed04659218c55c01075e950507f40bb3332fb4c873d3e1dc",
        ),
        _moge(
            "vitb",
            VITB,
            Effort(104.7, 1934, 2200),
            419,
            revision="54ad3a693e61907ea4633d13dec6ee682fa09419",
            sha256="16b8110e86d5dc5a849db120ca96ef3a223fd30b0c9146d1d81db504073da5f6",
        ),
        _moge(
            "vitl",
            VITL,
            Effort(330.9, 4429, 2300),
            1324,
            revision="b135031bae30b5ac2ae141a0e68717795ce38340",
            sha256="280741fd09bc3f403ccff9967784c2a391b52d2c0742ae3efdb21d9f90cc1a01",
        ),
        _moge(
            "vitl",
            VITL_WITHOUT_NORMALS,
            Effort(326.2, 4212, 2200),
            1305,
            revision="39c4d5e957afe587e04eec59dc2bcc3be5ecd968",
            sha256="3eefd4abb2102f38f12b2d1992e5ff15e4923e5431c67dd494afe157e0111cd5",
        ),
    )
}


def build_psi(preset: ModelPreset, *, empty: bool = False) -> DepthBase:
    """The preset's Ψ with random weights, or `empty`, on the meta device: `load_psi` fills it, without weights that are
    held in vain.

    Raises:
        DependencyError: a package is missing; the message names the extra.
    """
    if not empty:
        return preset.build()
    with torch.device("meta"):
        psi = preset.build()
    in_files = psi.state_dict().keys()
    is_whole = not any(value.is_meta and name not in in_files for name, value in psi.named_buffers())
    return psi if is_whole else preset.build()  # what no file holds is made here alone


def build_refiner(preset: ModelPreset) -> Refiner:
    """The preset's refiner with random weights: a PRO refiner, or the one for any Ψ."""
    return MapRefiner() if preset.refiner_weights is None else build_pro_refiner(preset)


def build_pro_refiner(preset: ModelPreset) -> Refiner:
    """A PRO refiner for the preset's Ψ with random weights: the light one for our own, else the published network."""
    channels = preset.spec.feature_channels
    return LightRefiner(channels) if preset.name == "compact" else ProRefiner(channels)


def load_psi(psi: DepthBase, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> None:
    """Loads the tensors of a preset's weights file (without its prefix) into a Ψ from `build_psi`, strictly.

    config: what the file says of its network beside them, if anything.

    Raises:
        WeightsError: they do not fit.
    """
    if isinstance(psi, MogeDepth):
        psi.load_published(tensors, config)
    elif isinstance(psi, DepthAnything | DepthAnything3 | DepthPro | VitDepth):
        psi.load_published(tensors)
    else:
        load_strict(psi, tensors, what=type(psi).__name__)


def load_refiner(preset: ModelPreset, tensors: Mapping[str, Tensor], *, trained_on: str = "") -> Refiner:
    """The refiner that a file holds: for any Ψ, or for the preset's, ours or the published checkpoint.

    trained_on: the preset whose features it was trained on, as far as the file says.

    Raises:
        WeightsError: the tensors do not fit, or mean nothing to this preset although they fit.
    """
    if any("freq_fusion." in key for key in tensors):
        if not (preset.official_refiner and preset.spec.feature_channels):
            raise WeightsError(
                f"The published PRO checkpoints were trained on Depth Anything V2 and mean nothing to {preset.name}; "
                "leave the refiner out, or name a depth-anything-v2 model."
            )
        official = ProRefiner(preset.spec.feature_channels, start="coarse")
        load_official(official, tensors)
        return official
    tensors = part_or_all(tensors, _REFINER_PREFIX)
    parts = {key.partition(".")[0] for key in tensors}
    if parts == {"encoder", "head"}:
        anyones = MapRefiner()
        load_strict(anyones, tensors, what="refiner for any Ψ")
        return anyones
    if not preset.spec.feature_channels:
        raise WeightsError(f"{preset.name} has no features to refine; leave the refiner out, or give one for any Ψ.")
    if trained_on not in ("", preset.name):
        raise WeightsError(
            f"This refiner was trained on the features of {trained_on} and means nothing to {preset.name}; leave the "
            f"refiner out, or name {trained_on}."
        )
    refiner = ProRefiner(preset.spec.feature_channels) if "fusion" in parts else build_pro_refiner(preset)
    load_strict(refiner, tensors, what=f"refiner of {preset.name}")
    return refiner

"""What a training run can be told. The flags of `pro-engine train` and config.json are made from these fields; help,
limits and whether a field changes the loss curve are said here and nowhere else.

`curve=False` marks what may change when a run goes on: another value makes no other loss curve, or it is a path whose
content counts and not the place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pro_engine.options import Checked, ModelOptions, OptionError, option, same_as

Precision = Literal["fp32", "bf16-mixed", "16-mixed"]
Glass = Literal["surface", "behind"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]

PUBLISHED_OVERLAP = 224 / 518
"""Share of a patch's side that neighbours have in common while training (arXiv 2503.22351)."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Checked):
    """How to run, for any task: what `loop.train` reads.

    Raises:
        OptionError: a value outside its limits, or a batch that processes and accumulation do not divide.
    """

    steps: int = option(help="Optimiser steps in all; the learning rate falls over them", minimum=1)
    batch: int = option(16, "Samples per step in all, shared out over processes and accumulated parts", minimum=1)
    learning_rate: float = option(1e-3, "Highest learning rate of AdamW", above=0)
    weight_decay: float = option(0.02, "Weight decay of AdamW", minimum=0)
    warm_up: int = option(100, "Steps over which the learning rate rises", minimum=0)
    fall: float = option(
        1.0,
        "Share of the steps, the last ones, over which the learning rate falls to 2 % along a cosine; 0 for a run that "
        "another one goes on from",
        minimum=0,
        maximum=1,
    )
    previous: Path | None = option(
        None,
        "Run folder to go on from with other pictures or steps: its weights, their average and the optimiser's state",
        curve=False,
    )
    clip_norm: float = option(2.0, "The gradient is shortened to this norm", above=0)
    average: float = option(
        0.999, "Decay of the exponential moving average of the weights; the average is what is kept", minimum=0, below=1
    )
    seed: int = option(0, "Sample i depends on this and on i alone", minimum=0)
    accumulate: int = option(1, "Parts that a process takes its share of a step in, where memory is short", minimum=1)
    precision: Precision = option("fp32", "Arithmetic of the trained network")
    devices: int = option(1, "Processes on this machine, one per GPU; several train in step (DDP)", minimum=1)
    accelerator: Accelerator = option(
        "auto", "Where to run; auto takes CUDA, else Apple's MPS, else the CPU", curve=False
    )
    workers: int = option(0, "Processes that read samples, for each training process", curve=False, minimum=0)
    log_every: int = option(50, "Steps between lines in log.jsonl and points in TensorBoard", curve=False, minimum=1)
    save_every: int = option(200, "Steps between checkpoints", curve=False, minimum=1)
    picture_every: int = option(500, "Steps between pictures in TensorBoard; 0 for none", curve=False, minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = self.devices * self.accumulate
        if self.batch % parts:
            raise OptionError(
                f"{{0}} is {self.batch}, which {self.devices} devices x {self.accumulate} accumulated parts do not "
                f"divide; give a multiple of {parts}.",
                "batch",
            )


@dataclass(frozen=True, kw_only=True)
class BaseConfig(LoopConfig):
    """A run that trains the base model, Ψ."""

    data: tuple[Path, ...] = option(help="Folder with training pictures; repeat it for several", curve=False)
    out: Path = option(help="Run folder; an unfinished run in it goes on", curve=False)
    architecture: Literal["compact", "vit"] = option(
        "compact", "The network: our own small one, or the ViT-S/14 of DINOv2 with a decoder of ours"
    )
    mixed_sizes: bool = option(
        False, "Draw the input size per step from a wide range, instead of 256x192, or of about 300 tokens (vit)"
    )
    initial: Path | None = option(
        None, "Weights of the whole network to start from, instead of ImageNet's or DINOv2's", curve=False
    )
    trunk: Path | None = option(
        None, "vit: file of weights whose trunk to start from instead of DINOv2's; the decoder is new", curve=False
    )
    freeze_trunk: bool = option(False, "vit: leave the trunk as it is and train the decoder alone, to warm it up")
    trunk_rate: float = option(0.15, "vit: share of the learning rate at which the trunk's last block learns", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (("trunk", self.trunk is not None), ("freeze_trunk", self.freeze_trunk)):
            if given and self.architecture != "vit":
                raise OptionError("{0} is for {1} vit; leave it out, or give that.", name, "architecture")
        if self.trunk is not None and self.initial is not None:
            raise OptionError("{0} has a trunk already; leave out one of {0} and {1}.", "initial", "trunk")


@dataclass(frozen=True, kw_only=True)
class HeadsConfig(LoopConfig):
    """A run that trains what a vision transformer tells of a photo as such: lens and range of distances, or the sky."""

    batch: int = same_as(LoopConfig, "batch", default=64)
    weight_decay: float = same_as(LoopConfig, "weight_decay", default=0.05)
    data: tuple[Path, ...] = option(help="Folder with rendered scenes; repeat it for several", curve=False)
    out: Path = option(help="Run folder; an unfinished run in it goes on", curve=False)
    base: Path = option(
        help="Weights of a base run with --architecture vit, or a bundle; they stay as they are", curve=False
    )
    part: Literal["lens", "sky"] = option("lens", "What is learnt: lens and range of distances together, or the sky")
    crops: int = option(1, "How often a picture is seen for the lens, each time as another photo of it", minimum=1)
    composed: int = option(1800, "Pictures that the sky is learnt from, most composed of two renders", minimum=1)


@dataclass(frozen=True, kw_only=True)
class RefinerConfig(LoopConfig):
    """A run that trains the PRO refiner of a frozen Ψ."""

    batch: int = same_as(
        LoopConfig, "batch", default=2, help="Pictures per step in all, shared out over processes and accumulated parts"
    )
    weight_decay: float = same_as(LoopConfig, "weight_decay", default=1e-3)
    clip_norm: float = same_as(LoopConfig, "clip_norm", default=1.0)
    data: tuple[Path, ...] = option(
        help="Folder with training pictures, best 1280 pixels wide or more; repeat it for several", curve=False
    )
    out: Path = option(help="Run folder; an unfinished run in it goes on", curve=False)
    psi: str = option("compact", "The frozen Ψ: a model's name, or a file of weights (base run or bundle)", curve=False)
    architecture: str = option("compact", "The model whose network the weights file of --psi is of")
    any_revision: bool = same_as(ModelOptions, "any_revision", curve=False)
    initial: Path | None = option(None, "Weights of a refiner to start from (refiner run or bundle)", curve=False)
    patch: tuple[int, int] = option((256, 192), "Size of a patch as Ψ sees it", minimum=1, items="width, height")
    overlap: float = option(
        PUBLISHED_OVERLAP, "Share of a patch's side that neighbours have in common", minimum=0, below=1
    )
    regions_per_image: int = option(
        1, "Groups of four patches per picture; they share its decoding and its coarse pass", minimum=1
    )
    gpct: bool = option(True, "Grouped patches: judged as one merged map, and they must agree; else each on its own")
    bfm: bool = option(True, "Bias Free Masking: leave out pixels where label and Ψ disagree, except at common edges")
    target: Literal["local", "label"] = option(
        "local", "What to aim at: the label fitted to Ψ's layout with a local scale and shift, or the label as it is"
    )
    features: bool = option(
        True, "See Ψ's features; without them it becomes the refiner for any Ψ, of maps and picture alone"
    )
    imagined: float = option(
        0.0,
        "Share of pictures whose maps come from imagined networks instead of Ψ; only without features",
        minimum=0,
        below=1,
    )
    mask_cache: Path | None = option(None, "Folder for the masks' maps; by default RUN/masks", curve=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features and self.imagined:
            raise OptionError(
                f"{{0}} is {self.imagined}, but imagined networks have no features; add --no-features, or leave it "
                "at 0.",
                "imagined",
            )


@dataclass(frozen=True, kw_only=True)
class OutlinesConfig(LoopConfig):
    """A run that trains the network that says where outlines are."""

    batch: int = same_as(LoopConfig, "batch", default=6)
    learning_rate: float = same_as(LoopConfig, "learning_rate", default=4e-3)
    weight_decay: float = same_as(LoopConfig, "weight_decay", default=0.01)
    clip_norm: float = same_as(LoopConfig, "clip_norm", default=1.0)
    average: float = same_as(LoopConfig, "average", default=0.99)
    data: tuple[Path, ...] = option(help="Folder with training pictures; repeat it for several", curve=False)
    out: Path = option(help="Run folder; an unfinished run in it goes on", curve=False)
    models: tuple[str, ...] = option(("hybrid", "compact"), "Model that makes maps; repeat it for several")
    maps: int = option(400, "Maps that are made, each of one picture, and kept in RUN/maps", minimum=1)
    prints: float = option(
        0.6, "Share of the pictures over which flat shapes and letters are painted", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True)
class ScenesConfig(Checked):
    """A set of rendered scenes."""

    out: Path = option(help="Folder for the pictures; finished scenes in it are kept")
    count: int = option(help="Number of scenes; each gives one picture or several", minimum=1)
    size: tuple[int, int] = option(
        (416, 312),
        "Size of a landscape picture; one in five is turned to portrait",
        minimum=16,
        items="width, height",
    )
    seed: int = option(0, "Number of the first scene; scene N is the same whenever it is rendered", minimum=0)
    workers: int = option(1, "Processes", minimum=1)
    cameras_per_scene: int = option(5, "Pictures per scene at most", minimum=1)
    orbit: int | None = option(
        None,
        "Views of each scene, from cameras around what it shows: a folder with images, depth and a COLMAP model",
        minimum=2,
        maximum=999,
    )
    assets: Path | None = option(None, "Folder of models, textures and skies; by default $PRO_ENGINE_ASSETS, if set")
    glass: Glass = option(
        "surface",
        "Depth of glass in the labels: its surface's, or that of what shows through it; the picture is the same",
    )
    kinds: tuple[str, ...] = option(
        (), "Such as office=3: this kind of scene more or less often than usual; repeat it for several"
    )


@dataclass(frozen=True, kw_only=True)
class BundleConfig(Checked):
    """A base and its refiner as a file that ships; or the base of `hybrid`, the refiner for any Ψ, or the network for
    outlines, alone."""

    base: Path | None = option(
        None, "model.safetensors of a base run, or a bundle; leave it out for the refiner for any Ψ"
    )
    refiner: Path | None = option(
        None, "model.safetensors of a refiner run on that base; leave it out for the base of hybrid"
    )
    heads: tuple[Path, ...] = option(
        (), "model.safetensors of a heads run on that base, for hybrid; repeat it for lens and sky"
    )
    outlines: Path | None = option(None, "model.safetensors of a run of `outlines`; alone")
    out: Path = option(help="File to write")

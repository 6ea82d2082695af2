"""What a training run can be told. The flags of `pro-engine train` and config.json are made from these fields; help,
limits and whether a field changes the loss curve are said here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pro_engine.errors import InputError

Precision = Literal["fp32", "bf16-mixed", "16-mixed"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]

PUBLISHED_OVERLAP = 224 / 518
"""Share of a patch's side that neighbours have in common while training (arXiv 2503.22351)."""


def _about(text: str, *, curve: bool = True, **limits: float) -> dict[str, Any]:
    """What is to be known of a field: its help text and its limits (`minimum`, or `above` and `below`, which are not
    reached).

    curve: whether another value makes another loss curve; a run does not go on with such a field changed. False for
    paths where the content counts and not the place.
    """
    return {"help": text, "curve": curve, **limits}


class _Checked:
    """Holds every field to its limits and choices when it is made."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for entry in dataclasses.fields(self):  # type: ignore[arg-type]
            _check(entry, hints[entry.name], getattr(self, entry.name))


def _check(entry: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise InputError(f"{entry.name} is {value!r}; give one of {', '.join(map(str, get_args(hint)))}.")
    if get_origin(hint) is tuple and len(value) == 0 and entry.default != ():
        raise InputError(f"{entry.name} is empty; give at least one.")
    for number in value if isinstance(value, tuple) else (value,):
        _check_number(entry.name, number, entry.metadata)


def _check_number(name: str, value: Any, limits: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    minimum, above, below = limits.get("minimum", -math.inf), limits.get("above"), limits.get("below")
    if not math.isfinite(value) or value < minimum:
        least = f" from {minimum}" if math.isfinite(minimum) else ""
        raise InputError(f"{name} is {value}; give a finite number{least}.")
    if above is not None and value <= above:
        raise InputError(f"{name} is {value}; give more than {above}.")
    if below is not None and value >= below:
        raise InputError(f"{name} is {value}; give less than {below}.")


@dataclass(frozen=True, kw_only=True)
class LoopConfig(_Checked):
    """How to run, for any task: what `loop.train` reads.

    Raises:
        InputError: a value outside its limits, or a batch that processes and accumulation do not divide.
    """

    steps: int = field(metadata=_about("Optimiser steps in all; the learning rate falls over them", minimum=1))
    batch: int = field(
        default=16,
        metadata=_about("Samples per step in all, shared out over processes and accumulated parts", minimum=1),
    )
    learning_rate: float = field(default=1e-3, metadata=_about("Highest learning rate of AdamW", above=0))
    weight_decay: float = field(default=0.02, metadata=_about("Weight decay of AdamW", minimum=0))
    warm_up: int = field(
        default=100,
        metadata=_about("Steps over which the learning rate rises; a cosine down to 2 % follows", minimum=0),
    )
    clip_norm: float = field(default=2.0, metadata=_about("The gradient is shortened to this norm", above=0))
    average: float = field(
        default=0.999,
        metadata=_about(
            "Decay of the exponential moving average of the weights; the average is what is kept", minimum=0, below=1
        ),
    )
    seed: int = field(default=0, metadata=_about("Sample i depends on this and on i alone", minimum=0))
    accumulate: int = field(
        default=1,
        metadata=_about("Parts that a process takes its share of a step in, where memory is short", minimum=1),
    )
    precision: Precision = field(default="fp32", metadata=_about("Arithmetic of the trained network"))
    devices: int = field(
        default=1, metadata=_about("Processes on this machine, one per GPU; several train in step (DDP)", minimum=1)
    )
    accelerator: Accelerator = field(
        default="auto", metadata=_about("Where to run; auto takes CUDA, else Apple's MPS, else the CPU", curve=False)
    )
    workers: int = field(
        default=0, metadata=_about("Processes that read samples, for each training process", curve=False, minimum=0)
    )
    log_every: int = field(
        default=50,
        metadata=_about("Steps between lines in log.jsonl and points in TensorBoard", curve=False, minimum=1),
    )
    save_every: int = field(default=200, metadata=_about("Steps between checkpoints", curve=False, minimum=1))
    picture_every: int = field(
        default=500, metadata=_about("Steps between pictures in TensorBoard; 0 for none", curve=False, minimum=0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = self.devices * self.accumulate
        if self.batch % parts:
            raise InputError(
                f"batch is {self.batch}, which {self.devices} devices x {self.accumulate} accumulated parts do not "
                f"divide; give a multiple of {parts}."
            )


@dataclass(frozen=True, kw_only=True)
class BaseConfig(LoopConfig):
    """A run that trains the base model, Ψ."""

    data: tuple[Path, ...] = field(metadata=_about("Folder with training pictures; repeat it for several", curve=False))
    out: Path = field(metadata=_about("Run folder; an unfinished run in it goes on", curve=False))
    mixed_sizes: bool = field(default=False, metadata=_about("Draw the input size per step instead of 256x192"))
    initial: Path | None = field(
        default=None, metadata=_about("Weights to start from instead of ImageNet's", curve=False)
    )


@dataclass(frozen=True, kw_only=True)
class RefinerConfig(LoopConfig):
    """A run that trains the PRO refiner of a frozen Ψ."""

    batch: int = field(
        default=2,
        metadata=_about("Pictures per step in all, shared out over processes and accumulated parts", minimum=1),
    )
    weight_decay: float = field(default=1e-3, metadata=_about("Weight decay of AdamW", minimum=0))
    clip_norm: float = field(default=1.0, metadata=_about("The gradient is shortened to this norm", above=0))
    data: tuple[Path, ...] = field(
        metadata=_about(
            "Folder with training pictures, best 1280 pixels wide or more; repeat it for several", curve=False
        )
    )
    out: Path = field(metadata=_about("Run folder; an unfinished run in it goes on", curve=False))
    psi: str = field(
        default="compact",
        metadata=_about("The frozen Ψ: a model's name, or a file of weights (base run or bundle)", curve=False),
    )
    architecture: str = field(
        default="compact", metadata=_about("The model whose network the weights file of --psi is of")
    )
    initial: Path | None = field(
        default=None, metadata=_about("Weights of a refiner to start from (refiner run or bundle)", curve=False)
    )
    patch: tuple[int, int] = field(
        default=(256, 192), metadata=_about("WIDTHxHEIGHT of a patch as Ψ sees it", minimum=1)
    )
    overlap: float = field(
        default=PUBLISHED_OVERLAP,
        metadata=_about("Share of a patch's side that neighbours have in common", minimum=0, below=1),
    )
    regions_per_image: int = field(
        default=1,
        metadata=_about("Groups of four patches per picture; they share its decoding and its coarse pass", minimum=1),
    )
    gpct: bool = field(
        default=True,
        metadata=_about("Grouped patches: judged as one merged map, and they must agree; else each on its own"),
    )
    bfm: bool = field(
        default=True,
        metadata=_about("Bias Free Masking: leave out pixels where label and Ψ disagree, except at common edges"),
    )
    target: Literal["local", "label"] = field(
        default="local",
        metadata=_about(
            "What to aim at: the label fitted to Ψ's layout with a local scale and shift, or the label as it is"
        ),
    )
    features: bool = field(
        default=True,
        metadata=_about("See Ψ's features; without them it becomes the refiner for any Ψ, of maps and picture alone"),
    )
    imagined: float = field(
        default=0.0,
        metadata=_about(
            "Share of pictures whose maps come from imagined networks instead of Ψ; for --no-features",
            minimum=0,
            below=1,
        ),
    )
    mask_cache: Path | None = field(
        default=None, metadata=_about("Folder for the masks' maps; by default RUN/masks", curve=False)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features and self.imagined:
            raise InputError(
                f"imagined is {self.imagined}, but imagined networks have no features; add --no-features, or leave it "
                "at 0."
            )


@dataclass(frozen=True, kw_only=True)
class ScenesConfig(_Checked):
    """A set of rendered scenes."""

    out: Path = field(metadata=_about("Folder for the pictures; finished scenes in it are kept"))
    count: int = field(metadata=_about("Number of scenes; each gives up to --cameras-per-scene pictures", minimum=1))
    size: tuple[int, int] = field(
        default=(416, 312),
        metadata=_about("WIDTHxHEIGHT of a landscape picture; one in five is turned to portrait", minimum=16),
    )
    seed: int = field(
        default=0, metadata=_about("Number of the first scene; scene N is the same whenever it is rendered", minimum=0)
    )
    workers: int = field(default=1, metadata=_about("Processes", minimum=1))
    cameras_per_scene: int = field(default=5, metadata=_about("Pictures per scene at most", minimum=1))
    assets: Path | None = field(
        default=None, metadata=_about("Folder of models, textures and skies; by default $PRO_ENGINE_ASSETS, if set")
    )
    glass: Literal["surface", "behind"] = field(
        default="surface",
        metadata=_about(
            "Depth of glass in the labels: its surface's, or that of what shows through it; the picture is the same"
        ),
    )
    kinds: tuple[str, ...] = field(
        default=(),
        metadata=_about("NAME=FACTOR: this kind of scene more or less often than usual, such as office=3; repeat it"),
    )


@dataclass(frozen=True, kw_only=True)
class BundleConfig(_Checked):
    """A base and its refiner as the one file that ships, or the refiner for any Ψ as a file of its own."""

    base: Path | None = field(
        default=None, metadata=_about("model.safetensors of a base run; leave it out for the refiner for any Ψ")
    )
    refiner: Path = field(metadata=_about("model.safetensors of a refiner run on that base"))
    out: Path = field(metadata=_about("File to write"))

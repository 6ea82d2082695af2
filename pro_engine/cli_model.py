"""The flags of every verb that runs a model, and what they mean."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pro_engine.cli_shared import help_text, pair, usage
from pro_engine.options import InferenceOptions, ModelOptions

if TYPE_CHECKING:
    from pro_engine.inference.predictor import DepthPredictor


class Backend(str, Enum):
    """The values of --backend."""

    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"


class Refine(str, Enum):
    """The values of --refine."""

    TRAINED = "trained"
    BLEND = "blend"
    NONE = "none"


ModelFlag = Annotated[str, typer.Option("--model", "-m", help="Name of a model; see `pro-engine models`")]
WeightsFlag = Annotated[
    Path | None,
    typer.Option("--weights", help="Weights of the model from this file, or for onnxruntime an export"),
]
RefinerFlag = Annotated[Path | None, typer.Option("--refiner", help="Weights of the refiner from this file")]
DeviceFlag = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps")]
DtypeFlag = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16, or int8 (a CPU's refiner)")]
BackendFlag = Annotated[Backend, typer.Option("--backend", help="What runs the networks")]
OfflineFlag = Annotated[bool, typer.Option("--offline", help="Never reach for the network")]
TilesFlag = Annotated[str, typer.Option("--tiles", help=help_text(InferenceOptions, "tiles") + ", written 4x4")]
RefineFlag = Annotated[Refine, typer.Option("--refine", help=help_text(InferenceOptions, "refine"))]
BatchFlag = Annotated[str, typer.Option("--batch", help=help_text(InferenceOptions, "batch_size"))]


def load(
    model: str,
    device: str,
    dtype: str,
    offline: bool,
    weights: Path | None,
    refiner: Path | None,
    backend: Backend = Backend.TORCH,
) -> DepthPredictor:
    """The model that the flags name."""
    from pro_engine.inference.load import load as load_options

    return load_options(
        usage(
            lambda: ModelOptions(
                name=model,
                device=device,
                dtype=dtype,  # type: ignore[arg-type]
                offline=offline,
                weights=weights,
                refiner_weights=refiner,
                backend=backend.value,
            )
        )
    )


def inference_options(tiles: str, refine: Refine, batch: str) -> InferenceOptions:
    """What --tiles, --refine and --batch ask for; a mistake in them is one in the command."""
    return usage(
        lambda: InferenceOptions(
            tiles="auto" if tiles == "auto" else pair("tiles", tiles),
            refine=refine.value,
            batch_size="auto" if batch == "auto" else whole_number("batch", batch),
        )
    )


def whole_number(name: str, text: str) -> int:
    """`12` as 12; anything else is a mistake in the flag --`name`."""
    if not text.isdecimal():
        raise typer.BadParameter(f"--{name} is {text!r}; give auto or a whole number above 0.")
    return int(text)

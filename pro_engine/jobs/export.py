"""A model as ONNX files, for ONNX Runtime and what builds on it; see `inference/onnx.py` for what the files hold."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pro_engine.errors import DependencyError, InputError
from pro_engine.inference.onnx import FINE_FILE, METADATA_KEY, PSI_FILE, REFINER_FILE, runtime
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.tiling import input_size
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike
from pro_engine.models.contract import DepthBase, PsiSpec
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import ProRefiner

Trained = LightRefiner | MapRefiner | ProRefiner
"""Refiners of which a part is learnt; that part is exported."""
EXAMPLE_SIZE = 1080, 1920
OPSET = 18
RUNNER, RUNNER_FILE = Path(__file__).with_name("onnx_photo.py"), "run.py"


class ExportedModel(NamedTuple):
    """A file, its size in bytes, and the largest difference from PyTorch's output on noise, as a share of its range."""

    path: Path
    size: int
    difference: float


def export_onnx(predictor: DepthPredictor, folder: PathLike) -> list[ExportedModel]:
    """Write Ψ and refiner of a predictor as `psi.onnx` and `refiner.onnx`, and check what ONNX Runtime makes of them.
    A second Ψ, for the patches, becomes `fine.onnx`.

    The batch may have any size in both. Height and width may be any that Ψ accepts if it follows the picture's shape
    (`PsiSpec.keep_aspect`); else they are fixed.

    Args:
        predictor: on the CPU, in float32.
        folder: for the two files; created if missing.

    Raises:
        InputError: the predictor is elsewhere or in another precision, or has no refiner of ours.
        DependencyError: onnx, onnxscript or onnxruntime are not installed. FileError: the folder cannot be written to.
    """
    refiner = predictor.refiner
    if predictor.device.type != "cpu" or predictor.dtype != torch.float32:
        raise InputError("A model is exported from the CPU in float32; give device='cpu' and dtype='float32'.")
    if not isinstance(refiner, Trained):
        raise InputError(f"Model {predictor.name} has no trained refiner that could be exported.")
    _needed()
    torch.manual_seed(0)
    more = {"fine": predictor.fine_name, "share": predictor.share}
    written = [_write_psi(predictor.psi, predictor.name, Path(folder) / PSI_FILE, more)]
    of_patches = predictor.fine or predictor.psi
    if predictor.fine is not None:
        of_fine = {"fine": "", "share": 0.0}
        written.append(_write_psi(predictor.fine, predictor.fine_name, Path(folder) / FINE_FILE, of_fine))
    spec = of_patches.spec
    image = torch.rand(2, 3, *input_size(*EXAMPLE_SIZE, spec))
    inputs: tuple[Any, ...] = (torch.rand(2, 6, *image.shape[2:]),)
    if levels := refiner.feature_levels:
        with torch.no_grad():  # of two pictures: the exporter makes one input of a tensor that is given twice
            inputs += tuple(of_patches(one).features[:levels] for one in (image, image.square()))
    facts = {"start": refiner.start.kind}
    written.append(_write(_LearntPart(refiner), inputs, Path(folder) / REFINER_FILE, spec, facts, ["residual"]))
    return written


def write_runner(predictor: DepthPredictor, folder: PathLike) -> Path | None:
    """Put a program beside the files of `export_onnx` that takes a photo to its map without PyTorch.

    None, and none is left there, for models that it does not know: metric ones, those that set the sky's disparity, and
    the published arithmetic of patches.

    Raises:
        FileError: the folder cannot be written to.
    """
    path, of_patches = Path(folder) / RUNNER_FILE, predictor.fine or predictor.psi
    specs = predictor.spec, of_patches.spec
    sets_sky = any(spec.gives_sky and not spec.gives_span for spec in specs)
    plain = not sets_sky and not any(spec.metric or spec.affine_depth for spec in specs)
    starts = isinstance(predictor.refiner, Trained) and predictor.refiner.start.kind == "snapped"
    if not (plain and starts) or (predictor.fine is None and predictor.spec.published_resize):
        path.unlink(missing_ok=True)
        return None
    with atomic_path(path) as temporary:
        shutil.copyfile(RUNNER, temporary)
    return path


def _write_psi(psi: DepthBase, name: str, path: Path, more: dict[str, Any]) -> ExportedModel:
    wrapped, image = _Psi(psi), torch.rand(2, 3, *input_size(*EXAMPLE_SIZE, psi.spec))
    facts = {"model": name, "spec": asdict(replace(psi.spec, takes_prompt=False)), **more}
    return _write(wrapped, (image,), path, psi.spec, facts, wrapped.names(image))


class _Psi(nn.Module):
    """Ψ with its outputs in a row."""

    def __init__(self, psi: DepthBase) -> None:
        super().__init__()
        self.psi = psi

    @torch.no_grad()
    def names(self, image: Tensor) -> list[str]:
        """Of the outputs."""
        _, features, whole = self.psi.whole(image, image.shape[-1] / image.shape[-2])
        told = [name for name, value in whole._asdict().items() if value is not None]
        return ["disparity", *(f"level{level}" for level in range(len(features))), *told]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        output = self.psi.whole(image, image.shape[-1] / image.shape[-2])
        return output.disparity, *output.features, *(one for one in output.whole if one is not None)


class _LearntPart(nn.Module):
    """What of a refiner has weights."""

    def __init__(self, refiner: Trained) -> None:
        super().__init__()
        self.refiner = refiner

    def forward(
        self, x: Tensor, coarse: Sequence[Tensor] | None = None, fine: Sequence[Tensor] | None = None
    ) -> Tensor:
        if isinstance(self.refiner, MapRefiner):
            return self.refiner.residual(x)
        assert coarse is not None and fine is not None
        return self.refiner.residual(x, coarse, fine)


def _refiner_inputs(levels: int) -> list[str]:
    return ["maps", *(f"{kind}_level{level}" for kind in ("coarse", "fine") for level in range(levels))]


def _needed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DependencyError("Exporting needs the extra `onnx`; run: pip install 'pro-engine[onnx]'.") from error
    runtime()


def _write(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: Path,
    spec: PsiSpec,
    facts: dict[str, Any],
    outputs: list[str],
) -> ExportedModel:
    """Export, check and give the file its name, in this order."""
    flat = _flat(inputs)
    names = ["image"] if path.name != REFINER_FILE else _refiner_inputs((len(flat) - 1) // 2)
    with torch.no_grad():
        wanted = _flat(module.eval()(*inputs))
    with atomic_path(path) as temporary:
        with _quiet():
            program = torch.onnx.export(
                module,
                inputs,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=_dynamic(inputs, spec),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.model.metadata_props[METADATA_KEY] = json.dumps(facts)
        program.save(temporary)
        session = runtime().InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        got = session.run(None, dict(zip(names, (one.numpy() for one in flat), strict=True)))
        size = temporary.stat().st_size
    return ExportedModel(path, size, max(_difference(a, b.numpy()) for a, b in zip(got, wanted, strict=True)))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages that it could use and of constants that it does not fold."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """As a share of the range of maps, and of the size of numbers."""
    reach = np.ptp(wanted) if wanted.ndim > 2 else np.abs(wanted).max()
    return float(np.abs(got - wanted).max() / max(reach, 1e-12))


def _flat(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else [one for value in values for one in _flat(value)]


def _dynamic(inputs: tuple[Any, ...], spec: PsiSpec) -> tuple[Any, ...]:
    """Which sides of the inputs may change."""
    batch = torch.export.Dim("batch", min=1)
    rows, columns = (torch.export.Dim(name, min=1, max=256) for name in ("rows", "columns"))
    full = max(one.shape[-2] for one in _flat(inputs))

    def of(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return tuple(of(value) for value in one)
        if not spec.keep_aspect:
            return {0: batch}
        step = spec.multiple * one.shape[-2] // full
        return {0: batch, 2: step * rows, 3: step * columns}

    return tuple(of(one) for one in inputs)

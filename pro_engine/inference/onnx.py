"""Networks that run in ONNX Runtime instead of PyTorch, from the folder that `pro-engine export` leaves.

`psi.onnx` is Ψ: image (B, 3, h, w) -> disparity, the feature maps, and what the whole picture alone is asked, by the
names of `WholeOutput`; `fine.onnx` is another Ψ, for the patches, where there is one. `refiner.onnx` is what the
refiner has learnt: its six input channels, and where it looks at them Ψ's maps of both passes -> the residual
(P, 1, h, w). What has no weights (sampling, blending, snapping to outlines) stays in the engine. Each file keeps, as
JSON under `METADATA_KEY`, what the engine must know of it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pro_engine.errors import DependencyError, WeightsError
from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec, Refiner, RefinerInput, WholeOutput
from pro_engine.models.refiner_published import MapStart

PSI_FILE, REFINER_FILE, FINE_FILE = "psi.onnx", "refiner.onnx", "fine.onnx"
METADATA_KEY = "pro_engine"
PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    "mps": ("CoreMLExecutionProvider", "CPUExecutionProvider"),
}
"""What runs the networks on each kind of device, best first; what an installation does not have is passed over."""


class OnnxPsi(DepthBase):
    """A Ψ in ONNX Runtime; `name` is that of the model it was exported from, `fine_name` of another one's for patches
    ("" if none), whose share of the coarse map is `share`."""

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        self._session, facts = _session(path, device)
        self.mark = _mark_of(path)
        try:
            self.name, self.fine_name, spec = str(facts["model"]), str(facts["fine"]), dict(facts["spec"])
            self.share = float(facts["share"])
            given: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in spec.items()}
            self.spec = PsiSpec(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign(path) from error
        self._outputs = [one.name for one in self._session.get_outputs()]

    def forward(self, image: Tensor) -> PsiOutput:
        """See `DepthBase.forward`."""
        names = [name for name in self._outputs if name not in WholeOutput._fields]
        disparity, *features = _run(self._session, [image], names)
        return PsiOutput(disparity, tuple(features))

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """See `DepthBase.whole`."""
        found = dict(zip(self._outputs, _run(self._session, [image], self._outputs), strict=True))
        told = WholeOutput(**{name: found.pop(name) for name in WholeOutput._fields if name in found})
        disparity, *features = found.values()
        return PsiOutput(disparity, tuple(features), told)


class OnnxRefiner(Refiner):
    """A refiner whose residual comes from ONNX Runtime."""

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        self._session, facts = _session(path, device)
        self.mark = _mark_of(path)
        if facts.get("start") not in ("coarse", "snapped"):
            raise _foreign(path)
        self.start = MapStart(facts["start"])
        self.level_borders = self.sharpens = facts["start"] == "snapped"
        self.feature_levels = len(self._session.get_inputs()) // 2

    def forward(self, patches: RefinerInput) -> Tensor:
        """See `Refiner.forward`."""
        start, x = self.start(patches)
        return start + _run(self._session, [x, *patches.coarse_features, *patches.fine_features])[0]


class OnnxModel(NamedTuple):
    """What an export folder holds."""

    psi: OnnxPsi
    refiner: OnnxRefiner
    fine: OnnxPsi | None = None


def load_onnx(folder: Path, device: torch.device) -> OnnxModel:
    """The networks of an export folder.

    Raises:
        WeightsError: a file is missing, damaged, or not one of ours. DependencyError: onnxruntime is not installed.
    """
    psi, refiner = OnnxPsi(folder / PSI_FILE, device), OnnxRefiner(folder / REFINER_FILE, device)
    return OnnxModel(psi, refiner, OnnxPsi(folder / FINE_FILE, device) if psi.fine_name else None)


def runtime() -> Any:
    """The module onnxruntime. DependencyError: it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("ONNX Runtime needs the extra `onnx`; run: pip install 'pro-engine[onnx]'.") from error
    return onnxruntime


def _session(path: Path, device: torch.device) -> tuple[Any, dict[str, Any]]:
    ort = runtime()
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; make it with: pro-engine export --out {path.parent}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    available = ort.get_available_providers()
    providers = [name for name in PROVIDERS[device.type] if name in available]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
        facts = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    except (KeyError, json.JSONDecodeError) as error:
        raise _foreign(path) from error
    except Exception as error:  # onnxruntime's own errors share no public base
        raise WeightsError(f"{path} cannot be read by ONNX Runtime ({error}); export the model again.") from error
    return session, dict(facts)


def _mark_of(path: Path) -> str:
    """Eight letters that tell a file from others: the CRC-32 of its bytes."""
    return f"{zlib.crc32(np.memmap(path, np.uint8, 'r').data):08x}"


def _foreign(path: Path) -> WeightsError:
    return WeightsError(f"{path} was not made by this version of `pro-engine export`; export the model again.")


def _run(session: Any, inputs: Sequence[Tensor], outputs: Sequence[str] | None = None) -> list[Tensor]:
    """Outputs of a session by their names, or all, on the device of the first input; no other is computed."""
    names = [one.name for one in session.get_inputs()]
    arrays = [np.ascontiguousarray(one.detach().float().cpu().numpy()) for one in inputs]
    options = runtime().RunOptions()
    options.only_execute_path_to_fetches = True
    arrays = session.run(outputs, dict(zip(names, arrays, strict=True)), options)
    return [torch.from_numpy(values).to(inputs[0].device) for values in arrays]

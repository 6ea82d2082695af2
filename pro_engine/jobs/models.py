"""The models as people ask about them: one line for each, and the card of one."""

from __future__ import annotations

from typing import Any

import torch

from pro_engine.errors import DependencyError, WeightsError
from pro_engine.inference.cost import TYPICAL_SIZE, expected_cost
from pro_engine.inference.load import preset_of
from pro_engine.inference.runtime import resolve_device
from pro_engine.io.weights import bundled_weights, cached_weights
from pro_engine.models.contract import PsiSpec
from pro_engine.models.presets import NEWEST, PRESETS, ModelPreset, WeightsFile
from pro_engine.options import ModelOptions


def list_models() -> list[dict[str, Any]]:
    """For every preset what docs/json.md tells of a model; plain values. Nothing is loaded, and no network touched."""
    return [_row(preset) for preset in PRESETS.values()]


def model_card(name: str) -> dict[str, Any]:
    """As a row of `list_models`, and where the weights come from and what a photo is expected to take here.

    Raises:
        InputError: there is no such model.
    """
    preset = preset_of(name)
    file, (height, width) = preset.weights, TYPICAL_SIZE
    cost = expected_cost(ModelOptions(name))
    return {
        **_row(preset),
        "repository": file.repo,
        "file": file.filename,
        "revision": None if file.repo is None or file.revision == NEWEST else file.revision,
        "sha256": file.sha256,
        "refiner": "own" if preset.refiner_weights is not None else "for any model",
        "expected": {
            "memory_gb": round(cost.memory_bytes / 1e9, 1),
            "seconds": round(cost.seconds, 1),
            "width": width,
            "height": height,
            "device": str(resolve_device()),
            "threads": torch.get_num_threads(),
        },
    }


def _row(preset: ModelPreset) -> dict[str, Any]:
    spec, file = preset.spec, preset.weights
    where, megabytes = _whereabouts(file)
    return {
        "name": preset.name,
        "summary": preset.summary,
        "licence": file.licence,
        "use": file.use,
        "why": file.why,
        "units": _units(spec),
        "lens": spec.gives_lens,
        "sky": spec.gives_sky,
        "normals": spec.gives_normals,
        "prompt": spec.takes_prompt,
        "parameters_m": preset.effort.parameters_m,
        "megabytes": megabytes,
        "weights": where,
    }


def _units(spec: PsiSpec) -> str:
    if spec.takes_prompt:
        return "metres of a prompt, else relative"
    if not spec.metric:
        return "relative"
    return "metres" if spec.unit != "inverse metres by focal" or spec.gives_lens else "metres given a lens"


def _whereabouts(file: WeightsFile) -> tuple[str, float]:
    """Where the weights are, in a word or two, and megabytes."""
    if file.repo is None:
        try:
            return "bundled", round(bundled_weights(file.filename).stat().st_size / 1e6, 1)
        except WeightsError:
            return "missing", 0
    try:
        cached = cached_weights(file.repo, file.filename, revision=file.revision)
    except DependencyError:
        return "needs the extra hub", file.megabytes
    return "in the cache" if cached else "on first use", file.megabytes

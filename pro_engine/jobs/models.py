"""The presets as people want to see them listed."""

from __future__ import annotations

from pro_engine.errors import DependencyError, WeightsError
from pro_engine.io.weights import bundled_weights, cached_weights
from pro_engine.models.presets import PRESETS, WeightsFile


def list_models() -> list[dict[str, str]]:
    """Name, summary, licence, commercial use ("yes" or "no") and where the weights are, for every preset."""
    return [
        {
            "name": preset.name,
            "summary": preset.summary,
            "licence": preset.weights.licence,
            "commercial": "yes" if preset.weights.commercial else "no",
            "weights": _whereabouts(preset.weights),
        }
        for preset in PRESETS.values()
    ]


def _whereabouts(file: WeightsFile) -> str:
    """In a word or two, without touching the network."""
    if file.repo is None:
        try:
            bundled_weights(file.filename)
        except WeightsError:
            return "missing"
        return "bundled"
    try:
        cached = cached_weights(file.repo, file.filename, revision=file.revision)
    except DependencyError:
        return "needs the extra hub"
    return "in the cache" if cached else "fetched on first use"

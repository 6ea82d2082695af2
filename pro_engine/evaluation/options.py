"""How to evaluate. Flags are built from these fields; their help and limits live here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pro_engine.options import Checked, OptionError, option


@dataclass(frozen=True)
class EvalOptions(Checked):
    """What to measure, on how many items, and what to keep of it.

    Raises:
        OptionError: a value outside its limits, or options that contradict each other.
    """

    kind: str = option("auto", "Kind of the datasets, or auto: from their files")
    items: int | None = option(None, "How many items of each dataset, evenly spread; all by default", minimum=1)
    ce: bool = option(False, "Also measure the consistency error: infers every picture twice")
    predictions: Path | None = option(
        None, "Score the maps in this folder, one named like each item, instead of running a model"
    )
    save_maps: bool = option(False, "Also write every map to OUT/maps as NAME.npy")
    pictures: int = option(60, "How many items the page shows with pictures, evenly spread over all", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("ce", "save_maps"):
            if self.predictions is not None and getattr(self, name):
                raise OptionError("Both {0} and {1} are given; {1} needs a model to run.", "predictions", name)

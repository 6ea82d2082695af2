"""What a camera that is mounted turned costs, with and without `input.rotation` of the ROS 2 node.

    python benchmarks/ros_turned.py --data FOLDER [--items NAME,NAME] [--refine trained]

Each picture is turned as such a camera would give it, goes through the node's own path to the model (`Engine.infer`),
and the map, which is in the camera's frame again, is turned upright and scored: the share of pixels within a quarter of
the truth (delta1), each map fitted by scale and shift. FOLDER has pictures with depth (docs/datasets.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pro_engine.datasets import EvalSample, open_dataset
from pro_engine.evaluation.scores import fit_to_truth, score_map
from ros2_pro.frames.model import Engine
from ros2_pro.frames.rotation import turned
from ros2_pro.settings import EngineSettings

TURNS = (0, 1, 2, 3)  # quarters, clockwise, by which the picture is to be turned to be upright


def delta1(engine: Engine, settings: EngineSettings, sample: EvalSample, quarter_turns: int, told: bool) -> float:
    """Of a camera that is mounted turned; `told` is whether the node is."""
    seen = turned(sample.image, -quarter_turns)
    found = engine.infer(seen, settings, lambda: True, quarter_turns=quarter_turns if told else 0)
    disparity = turned(found.disparity, quarter_turns)
    return score_map(disparity, fit_to_truth(disparity, sample), sample)["delta1"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--items", default="", help="names, separated by commas; all that have depth by default")
    parser.add_argument("--refine", default="none")
    given = parser.parse_args(arguments)
    engine, settings = Engine(), EngineSettings(device="cpu", refine=given.refine)
    engine.ensure(settings)
    dataset = open_dataset(given.data)
    wanted = set(filter(None, given.items.split(",")))
    rows: dict[bool, list[list[float]]] = {True: [], False: []}
    for sample in map(dataset.__getitem__, range(len(dataset))):
        if sample.disparity is None or (wanted and sample.name not in wanted):
            continue
        for told, values in rows.items():
            values.append([delta1(engine, settings, sample, turns, told) for turns in TURNS])
        print(sample.name, *(f"{value:.4f}" for value in (*rows[True][-1], *rows[False][-1][1:])), flush=True)
    print(f"\n| input.rotation | {' | '.join(f'{90 * turns} degrees' for turns in TURNS)} |\n|{'---|' * 5}")
    for told, values in rows.items():
        means = [sum(column) / len(values) for column in zip(*values, strict=True)]
        print(f"| {'as mounted' if told else '0'} | {' | '.join(f'{mean:.4f}' for mean in means)} |")


if __name__ == "__main__":
    main()

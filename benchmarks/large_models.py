"""A large Ψ on a 4K picture beside a light one for the patches: time over that of its own one pass, and memory.

    OMP_NUM_THREADS=2 python benchmarks/large_models.py [--models da3-metric-large,moge-2-vitl:1369] [--fine compact]

Weights are random, in files as published, as neither seconds nor memory depend on what they are. Every model runs in a
process of its own, which does what `pro-engine infer` does: it loads the file, then infers. A number behind a model's
name is that of tokens in place of its own. Printed are wall and processor seconds and the ratio of the latter, which
other programs disturb less; then MB of the weights, and how far the peaks while loading and of all lie above them.
Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from memory import MB, peak_since_reset_bytes, reset_peak

from pro_engine.inference.load import load_model
from pro_engine.io.weights import save_weights
from pro_engine.jobs.bench import sample_picture
from pro_engine.jobs.kept_memory import prepare
from pro_engine.models import depth_anything3, moge
from pro_engine.models.moge_depth import MogeDepth
from pro_engine.models.presets import PRESETS, build_psi
from pro_engine.models.vit import PATCH
from pro_engine.options import ModelOptions

HEIGHT, WIDTH = 2160, 3840
MEMORY = ("weights MB", "loading MB", "peak MB")
MODELS = "da3-metric-large,moge-2-vitl:1369,moge-2-vitl:3600"


def write_weights(name: str, path: Path) -> None:
    """A file of random weights as those of the preset are published."""
    torch.manual_seed(0)
    psi = build_psi(PRESETS[name])
    network, key_in_file = _network(psi)
    tensors = {key_in_file(key): value.contiguous() for key, value in network.state_dict().items()}
    if path.suffix == ".pt":
        torch.save({"model": tensors}, path)
    else:
        save_weights(path, tensors)


def _network(psi: torch.nn.Module) -> tuple[torch.nn.Module, Callable[[str], str]]:
    if isinstance(psi, MogeDepth):
        return psi.network, moge.published_key
    return psi, depth_anything3.published_key


def measure(name: str, tokens: int, fine: str, weights: Path) -> str:
    """A row of the table."""
    prepare()  # as the command line does
    picture = sample_picture(HEIGHT, WIDTH)
    predictor = load_model(name, weights=weights, fine=fine, device="cpu")
    loaded = peak_since_reset_bytes()
    if tokens:
        predictor.spec = replace(predictor.spec, input_area=tokens * PATCH**2)
    reset_peak()
    clock = [time.process_time()]
    result = predictor.infer(picture, progress=lambda done, total: clock.append(time.process_time()))
    clock.append(time.process_time())
    peak = max(loaded, peak_since_reset_bytes())
    whole_s, once_s = clock[-1] - clock[0], clock[1] - clock[0]  # the first step is the pass over the whole picture
    held = sum(one.nbytes for one in (*predictor.psi.parameters(), *predictor.psi.buffers()))
    (height, width), (rows, columns) = predictor.plan(HEIGHT, WIDTH, "auto").coarse, result.tiles
    cells = (
        predictor.full_name,
        f"{width}x{height}",
        f"{rows}x{columns}",
        f"{result.timings['coarse']:.1f}",
        f"{result.seconds:.1f}",
        f"{once_s:.1f}",
        f"{whole_s:.1f}",
        f"{whole_s / once_s:.2f}",
        f"{held / MB:.0f}",
        f"{(loaded - held) / MB:.0f}",
        f"{(peak - held) / MB:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--fine", default=ModelOptions.fine)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.weights is not None:
        name, _, tokens = chosen.models.partition(":")
        print(measure(name, int(tokens or 0), chosen.fine, chosen.weights))
        return
    titles = ("model", "input", "patches", "one pass s", "all s", "one pass CPU s", "all CPU s", "ratio", *MEMORY)
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|", flush=True)
    for model in chosen.models.split(","):
        name = model.partition(":")[0]
        with TemporaryDirectory() as folder:
            path = Path(folder) / PRESETS[name].weights.filename
            # In a process of its own, so that this one stays small.
            code = f"import large_models as b, pathlib; b.write_weights({name!r}, pathlib.Path({str(path)!r}))"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
            command = [sys.executable, __file__, "--models", model, "--fine", chosen.fine, "--weights", str(path)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

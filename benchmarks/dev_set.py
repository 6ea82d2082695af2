"""Predict every picture of an evaluation folder and measure how visible patch borders are.

    python benchmarks/dev_set.py EVAL OUT [--refine trained|blend|none] [--weights FILE] [--max-side N]

EVAL holds one folder per item with image.png or image.jpg. OUT/NAME.npy gets the disparity (half precision, at most
`--max-side` pixels a side, which is what scripts that score against ground truth read) and OUT/report.json the grid,
seconds and seam ratio of every item. The seam ratio is the mean absolute jump across patch borders over that across the
same rows and columns moved by half a patch; the last line sums up jumps over all pictures with more than one patch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

import pro_engine as pro
from pro_engine.inference.seams import seam_jumps

REFINE: dict[str, bool | str] = {"trained": True, "blend": "blend", "none": False}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--refine", choices=sorted(REFINE), default="trained")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--max-side", type=int, default=2048)
    a = parser.parse_args()
    predictor = pro.load_model(a.model, weights=a.weights)
    options = pro.InferenceOptions(refine=REFINE[a.refine])  # type: ignore[arg-type]
    a.out.mkdir(parents=True, exist_ok=True)
    report, border, middle = {}, [], []
    for picture in sorted(p for p in a.eval.glob("*/image.*") if p.suffix in (".png", ".jpg")):
        image, _ = pro.load_image(picture)
        result = predictor.infer(image, options=options)
        jumps = seam_jumps(result.disparity, result.tiles)
        name = picture.parent.name
        report[name] = {"tiles": result.tiles, "seconds": round(result.seconds, 2), "seam_ratio": round(jumps.ratio, 3)}
        if np.isfinite(jumps.ratio):
            border.append(jumps.border)
            middle.append(jumps.middle)
        h, w = result.disparity.shape
        shrink = min(1.0, a.max_side / max(h, w))
        small = cv2.resize(result.disparity, (round(w * shrink), round(h * shrink)), interpolation=cv2.INTER_AREA)
        np.save(a.out / f"{name}.npy", small.astype(np.float16))
        print(name, json.dumps(report[name]), flush=True)
    total = float(np.sum(border) / np.sum(middle)) if border else float("nan")
    median = float(np.median(np.divide(border, middle))) if border else float("nan")
    summary = {"pictures": len(border), "seam_ratio_total": round(total, 4), "seam_ratio_median": round(median, 4)}
    (a.out / "report.json").write_text(json.dumps({"summary": summary, "items": report}, indent=1))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

"""`infer --alpha`: a file beside the map with sharp steps, and what is said without them."""

from __future__ import annotations

import cv2
import numpy as np
from command_line import write_photo
from typer.testing import CliRunner

from pro_engine.cli.main import app


def test_alpha_is_written_as_16_bit_grey_and_needs_sharp_steps(tmp_path):
    photo = write_photo(tmp_path / "a.png", 96, 64)
    given = ["infer", str(photo), "--out", str(tmp_path / "out"), "--device", "cpu", "--alpha"]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 1 and "alpha comes with sharp steps; give refine sharp" in refused.output
    done = CliRunner().invoke(app, [*given, "--refine", "sharp"])
    assert done.exit_code == 0, done.output
    alpha = cv2.imread(str(tmp_path / "out" / "a.alpha.png"), cv2.IMREAD_UNCHANGED)
    assert alpha.dtype == np.uint16 and alpha.shape == (64, 96) and alpha.max() == 65535

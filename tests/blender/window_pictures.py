"""The pictures of docs/blender.md, from a real Blender window: `python -m tests.blender.window_pictures`, as root.

Needs the tree of `window_tree.py`, and takes a few minutes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

from tests.blender.test_window import PHOTO, ROOT, picture_of_screen, prepare, run_scene

TARGET = ROOT / "docs" / "blender"
FOLDER = Path("/tmp/photos")  # is seen in the pictures
SIDEBAR = (1036, 80, 1318, 470)  # left, top, right, bottom
VIEWPORT = (340, 82, 900, 790)
GAP_PX = 12
COLOURS = 256


def beside(*pictures):
    """Pictures of the same height side by side, on white."""
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP_PX
    return sheet


def save(picture, name):
    """As a small PNG."""
    colours = picture.quantize(COLOURS)
    picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(TARGET / name, optimize=True)


def main():
    """Play the scene, cut the pictures."""
    FOLDER.mkdir()
    try:
        prepare(FOLDER)
        shutil.copy(PHOTO, FOLDER)
        seen = run_scene("tutorial", FOLDER)
        if "end" not in seen:
            sys.exit(seen["log"])
        shown = {path.stem.split("-", 1)[1]: picture_of_screen(path) for path in FOLDER.glob("*.xwd")}
        render = Image.open(FOLDER / "render.png").convert("RGB")
    finally:
        shutil.rmtree(FOLDER)
    TARGET.mkdir(exist_ok=True)
    save(beside(*(shown[name].crop(SIDEBAR) for name in ("ready", "at-work", "done"))), "panel.png")
    save(shown["beside"].crop(VIEWPORT), "mesh.png")
    photo = Image.open(PHOTO).resize(render.size, Image.Resampling.LANCZOS)
    save(beside(*(picture.reduce(2) for picture in (photo, render))), "render.png")


if __name__ == "__main__":
    main()

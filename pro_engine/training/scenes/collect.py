"""Fill an asset folder (see `assets.py`) from free packages that are already on the machine; nothing is installed.

Models come from the catalogues (.sh3f) of the Debian package `sweethome3d-furniture`, repeating textures from those
models, skies from the npm package `@pmndrs/assets`. Only public-domain and attribution licences are taken;
`LICENSES.csv` in the folder names the author and the licence of every file.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import logging
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from .parts.assets import CATALOG, CATALOG_FIELDS, MAX_TRIANGLES, ModelFile, load_model
from .parts.scene import SceneMesh
from .render.sky import read_hdr

log = logging.getLogger(__name__)

FURNITURE = Path("/usr/share/sweethome3d/furniture")
SKIPPED_CATEGORIES = ("Doors and windows", "Staircases")
HANGING_M = 1.0
"""Models made to hang this high or higher are left out: builders put models on floors and tables."""
MIN_TEXTURE = 128
OUTDOOR_SKIES = ("bridge", "city", "dawn", "esplanade", "forest", "night", "park", "sky", "sunrise", "sunset", "venice")
"""Skies of the npm package in which no wall stands near: a sky has infinite depth."""
_FREE = re.compile(r"public domain|cc-?0|creative commons (\d\.\d )?attribution", re.IGNORECASE)
_UNFREE = re.compile(r"non-?commercial|no-?deriv|share-?alike", re.IGNORECASE)


def collect_assets(
    out: str | Path, furniture: str | Path = FURNITURE, skies: str | Path | None = None
) -> dict[str, int]:
    """Fill `out` and return how many models, textures and skies it got.

    `furniture` is a folder with .sh3f files, `skies` the unpacked npm package; either may be missing.
    """
    folder = Path(out)
    counts = {"models": 0, "textures": 0, "hdri": 0}
    taken: set[str] = set()
    credits: list[tuple[str, str, str]] = []
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "textures").mkdir(exist_ok=True)
    with open(folder / "models" / CATALOG, "w", newline="", encoding="utf-8") as file:
        catalog = csv.writer(file)
        catalog.writerow(CATALOG_FIELDS)
        for archive in sorted(Path(furniture).glob("*.sh3f")):
            for row, credit, mesh in _models(archive, folder):
                catalog.writerow(row)
                credits.append(credit)
                counts["models"] += 1
                if row[1] != "Characters":  # hair and skin are of no use on walls
                    textures = _take_textures(mesh, folder / "textures") - taken
                    taken |= textures
                    credits.extend((f"textures/{name}", *credit[1:]) for name in sorted(textures))
    if skies is not None:
        for name in _skies(Path(skies), folder / "hdri"):
            credits.append((f"hdri/{name}", "Poly Haven, packed by pmndrs", "CC0 1.0"))
            counts["hdri"] += 1
    counts["textures"] = len(taken)
    with open(folder / "LICENSES.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "author", "licence"))
        writer.writerows(credits)
    return counts


def _models(archive: Path, folder: Path) -> Iterator[tuple[tuple, tuple[str, str, str], SceneMesh]]:
    """Yield (catalogue row, credit, mesh) for each usable model of a catalogue file."""
    with zipfile.ZipFile(archive) as packed:
        head, entries = _read_catalog(packed.read("PluginFurnitureCatalog.properties").decode("latin-1"))
        licence = head.get("license", "")
        if not _FREE.search(licence) or _UNFREE.search(licence):
            log.warning("%s left out: licence %r", archive.name, licence)
            return
        names = packed.namelist()
        for entry in entries:
            if entry["category"] in SKIPPED_CATEGORIES or float(entry.get("elevation", 0)) / 100 >= HANGING_M:
                continue
            source = PurePosixPath(entry["model"].lstrip("/"))
            target = folder / "models" / source.parent
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                if PurePosixPath(name).parent == source.parent and not name.endswith("/"):
                    (target / PurePosixPath(name).name).write_bytes(packed.read(name))
            path = folder / "models" / source
            size = (float(entry["width"]) / 100, float(entry["depth"]) / 100, float(entry["height"]) / 100)
            rotation = entry.get("modelRotation", "")
            item = ModelFile(str(path), entry["category"], size, tuple(map(float, rotation.split())) or None)
            try:
                mesh = load_model(item)
                _check(mesh)
            except (OSError, ValueError) as error:
                log.info("%s left out: %s", source, error)
                shutil.rmtree(target)
                continue
            author = entry.get("creator", "unknown")
            yield (str(source), entry["category"], *size, rotation), (f"models/{source}", author, licence), mesh


def _read_catalog(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """General keys and one dict per model of a catalogue's properties."""
    head: dict[str, str] = {}
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"(\w+)(?:#(\d+))?=(.*)", line)
        if match and match[2]:
            entries.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
        elif match:
            head[match[1]] = match[3].strip()
    return head, list(entries.values())


def _check(mesh: SceneMesh) -> None:
    """ValueError for models that are heavy, broken, or made of cut-out pictures, which a mesh cannot show."""
    if len(mesh.faces) > MAX_TRIANGLES or len(mesh.faces) < 4:
        raise ValueError(f"{len(mesh.faces)} triangles")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError("vertices that are not numbers")
    for material in mesh.materials:
        if not material.image:
            continue
        picture = cv2.imread(material.image, cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise ValueError(f"unreadable texture {Path(material.image).name}")
        if picture.ndim == 3 and picture.shape[2] == 4 and (picture[..., 3] < 128).mean() > 0.02:
            raise ValueError(f"cut-out texture {Path(material.image).name}")


def _take_textures(mesh: SceneMesh, folder: Path) -> set[str]:
    """Copy the pictures that the model repeats, hence ones made to repeat. Returns their names in `folder`."""
    taken: set[str] = set()
    for number, material in enumerate(mesh.materials):
        if mesh.uv is None or not material.image:
            continue
        corners = mesh.uv[mesh.face_material == number]
        if not len(corners) or np.ptp(corners.reshape(-1, 2), axis=0).min() < 1.5:
            continue
        picture, source = cv2.imread(material.image), Path(material.image)
        assert picture is not None  # `_check` has read it
        name = hashlib.sha256(source.read_bytes()).hexdigest()[:12] + source.suffix.lower()  # models share pictures
        if min(picture.shape[:2]) >= MIN_TEXTURE and picture.std() > 4:
            shutil.copyfile(source, folder / name)
            taken.add(name)
    return taken


def _skies(package: Path, folder: Path) -> Iterator[str]:
    """Convert the base64 .exr modules of the npm package to .hdr, which OpenCV reads; yield file names."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in (package / "hdri" / f"{name}.exr.js" for name in OUTDOOR_SKIES):
        text = module.read_text()
        encoded = text[text.index("base64,") + 7 :].rstrip().rstrip(";").strip("'\"")
        packed = folder / module.name.removesuffix(".js")
        packed.write_bytes(base64.b64decode(encoded))
        name = packed.with_suffix(".hdr").name
        cv2.imwrite(str(folder / name), read_hdr(str(packed)).clip(0, 1e4)[..., ::-1])
        packed.unlink()
        yield name


def main(arguments: list[str] | None = None) -> int:
    """Command line of `collect_assets`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--furniture", default=str(FURNITURE), help="folder with .sh3f files")
    parser.add_argument("--skies", default=None, help="unpacked npm package @pmndrs/assets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    log.info("collected %s", collect_assets(options.out, options.furniture, options.skies))
    return 0


if __name__ == "__main__":
    sys.exit(main())

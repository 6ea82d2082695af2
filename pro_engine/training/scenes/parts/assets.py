"""Optional models, textures and skies found on the machine; everything works without them.

An asset folder holds `models/` (OBJ + MTL, y up, any depth of folders, optionally `models/catalog.csv`), `textures/`
(JPEG or PNG that repeat) and `hdri/` (.exr or .hdr, equirectangular). Its path comes from the caller or from
$PRO_ENGINE_ASSETS. `collect.py` fills such a folder from free packages.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .scene import Material, SceneMesh

log = logging.getLogger(__name__)

ENVIRONMENT = "PRO_ENGINE_ASSETS"
MAX_TRIANGLES = 60_000
CATALOG = "catalog.csv"
CATALOG_FIELDS = ("file", "category", "width", "depth", "height", "rotation")
"""Columns of the catalogue: sizes in metres (x, y, z once z is up), `rotation` nine numbers for the y-up frame."""


@dataclass(frozen=True)
class ModelFile:
    """One model of the catalogue. `size` (x, y, z) in metres; None keeps the file's own, taken as metres."""

    path: str
    category: str
    size: tuple[float, float, float] | None = None
    rotation: tuple[float, ...] | None = None


@dataclass
class Assets:
    """What the asset folder holds; all lists may be empty."""

    models: list[ModelFile] = field(default_factory=list)
    textures: list[str] = field(default_factory=list)
    hdris: list[str] = field(default_factory=list)

    def random_model(
        self, rng: np.random.Generator, categories: tuple[str, ...] | None = None, max_size: float | None = None
    ) -> tuple[SceneMesh, NDArray[np.float32], str] | None:
        """A model, its size (x, y, z) in metres and its category; None where nothing fits.

        The mesh is in metres with its base at z = 0, centred in x and y, its front to -y.
        """
        fitting = [
            item
            for item in self.models
            if (categories is None or item.category in categories)
            and (max_size is None or item.size is None or max(item.size) <= max_size)
        ]
        while fitting:
            item = fitting.pop(int(rng.integers(len(fitting))))
            mesh = _usable_model(item)
            if mesh is None:
                continue
            size = mesh.vertices.max(0) - mesh.vertices.min(0)
            if max_size is None or size.max() <= max_size * 1.001:
                return mesh, size, item.category
        return None


def load_assets(folder: str | os.PathLike[str] | None = None) -> Assets:
    """List the assets of a folder, or of $PRO_ENGINE_ASSETS when none is given; empty when there is none at all.

    Raises FileNotFoundError when a folder is named but does not exist.
    """
    name = folder if folder is not None else os.environ.get(ENVIRONMENT)
    if not name:
        return Assets()
    if not Path(name).is_dir():
        raise FileNotFoundError(f"asset folder {name} does not exist; see {ENVIRONMENT}")
    listed = _list_folder(str(Path(name).resolve()))
    return Assets(list(listed.models), list(listed.textures), list(listed.hdris))


@lru_cache(maxsize=4)
def _list_folder(folder: str) -> Assets:
    root = Path(folder)
    return Assets(
        models=_list_models(root / "models"),
        textures=_files(root / "textures", (".jpg", ".jpeg", ".png")),
        hdris=_files(root / "hdri", (".exr", ".hdr")),
    )


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in suffixes)


def _list_models(folder: Path) -> list[ModelFile]:
    catalog = folder / CATALOG
    if not catalog.exists():
        return [ModelFile(path, Path(path).parent.name) for path in _files(folder, (".obj",))]
    models = []
    with open(catalog, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rotation = tuple(float(part) for part in row["rotation"].split()) or None
            size = (float(row["width"]), float(row["depth"]), float(row["height"]))
            models.append(ModelFile(str(folder / row["file"]), row["category"], size, rotation))
    return models


@lru_cache(maxsize=96)
def _usable_model(item: ModelFile) -> SceneMesh | None:
    try:
        return load_model(item)
    except (OSError, ValueError) as error:
        log.warning("model left out: %s", error)
        return None


def load_model(item: ModelFile) -> SceneMesh:
    """A model in metres, z up, on the ground, centred. OSError or ValueError when it cannot be used."""
    mesh = _cached_obj(Path(item.path))
    if len(mesh.faces) > MAX_TRIANGLES:
        raise ValueError(f"{item.path} has {len(mesh.faces)} triangles, more than {MAX_TRIANGLES}")
    vertices = mesh.vertices
    if item.rotation is not None:
        vertices = vertices @ np.asarray(item.rotation, np.float32).reshape(3, 3).T
    vertices = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], axis=1)
    low, high = vertices.min(0), vertices.max(0)
    vertices = vertices - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    if item.size is not None:
        vertices = vertices * (np.asarray(item.size, np.float32) / np.maximum(high - low, 1e-6))
    return replace(mesh, vertices=np.ascontiguousarray(vertices, np.float32))


def _cached_obj(path: Path) -> SceneMesh:
    """The parsed file; kept beside it as .npz, because parsing takes far longer than rendering."""
    cache = path.with_suffix(".mesh.npz")
    if cache.exists() and (not path.exists() or cache.stat().st_mtime >= path.stat().st_mtime):
        with np.load(cache, allow_pickle=False) as stored:
            materials = tuple(_restored(entry, path.parent) for entry in json.loads(str(stored["materials"])))
            uv = stored["uv"].astype(np.float32) if "uv" in stored else None
            return SceneMesh(
                stored["vertices"],
                stored["faces"],
                stored["face_material"].astype(np.int32),
                stored["smooth"],
                materials,
                uv,
            )
    mesh = read_obj(path)
    entries = [asdict(material) for material in mesh.materials]
    for entry in entries:
        entry["image"] = os.path.relpath(entry["image"], path.parent) if entry["image"] else None
    arrays = {name: getattr(mesh, name) for name in ("vertices", "faces", "face_material", "smooth")}
    if mesh.uv is not None:
        arrays["uv"] = mesh.uv
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, materials=np.asarray(json.dumps(entries)), **arrays)
        os.replace(temporary, cache)
    except OSError:  # a read-only folder only means that the next process parses again
        log.debug("no cache written for %s", path)
    return mesh


def _restored(entry: dict, folder: Path) -> Material:
    image = str((folder / entry["image"]).resolve()) if entry["image"] else None
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Material(**{**entry, **lists, "image": image})


def read_obj(path: Path) -> SceneMesh:
    """Parse an OBJ file and its MTL libraries, in the file's own frame and unit; polygons become fans of triangles.

    Corners that share a position but not a normal are split, so that hard edges stay hard.
    """
    positions: list[list[str]] = []
    coordinates: list[list[str]] = []
    normals = 0
    triangles: list[tuple[str, str, str]] = []
    owner: list[int] = []
    rounded: list[bool] = []
    numbers: dict[str, int] = {"": 0}
    library: dict[str, Material] = {}
    current, round_now = 0, True
    for line in path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ").splitlines():
        parts = line.split()
        if not parts:
            continue
        key = parts[0]
        if key == "v":
            positions.append(parts[1:4])
        elif key == "vt":
            coordinates.append(parts[1:3])
        elif key == "vn":
            normals += 1
        elif key == "f":
            polygon = parts[1:]
            for second in range(1, len(polygon) - 1):
                triangles.append((polygon[0], polygon[second], polygon[second + 1]))
                owner.append(current)
                rounded.append(round_now)
        elif key == "usemtl":
            current = numbers.setdefault(line[6:].strip(), len(numbers))
        elif key == "s":
            round_now = parts[1:] not in (["off"], ["0"])
        elif key == "mtllib":
            library.update(read_mtl(path.parent / line[6:].strip()))
    if not triangles:
        raise ValueError(f"{path} holds no faces")
    counts = (len(positions), len(coordinates), normals)
    known = {text: _corner(text, counts) for text in {text for triangle in triangles for text in triangle}}
    corners = np.array([[known[text] for text in triangle] for triangle in triangles], np.int64)  # (F, 3, 3)
    pairs, index = np.unique(corners[:, :, (0, 2)].reshape(-1, 2), axis=0, return_inverse=True)
    vertices = np.array(positions, np.float32)[pairs[:, 0]]
    uv = None
    if coordinates:
        uv = np.array(coordinates, np.float32)[np.maximum(corners[:, :, 1], 0)]
        uv[corners[:, :, 1] < 0] = 0
    smooth = np.asarray(rounded) if normals == 0 else np.ones(len(triangles), bool)
    materials = tuple(library.get(name, Material()) for name in numbers)
    return SceneMesh(vertices, index.reshape(-1, 3).astype(np.int32), np.array(owner, np.int32), smooth, materials, uv)


def _corner(text: str, counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """Zero-based (position, coordinate, normal) of an OBJ corner such as `7/3/2`; -1 where it names none."""
    numbers = [int(part) if part else 0 for part in text.split("/")] + [0, 0]
    position, coordinate, normal = (
        n - 1 if n > 0 else count + n if n < 0 else -1 for n, count in zip(numbers[:3], counts, strict=True)
    )
    return position, coordinate, normal


def read_mtl(path: Path) -> dict[str, Material]:
    """Materials of an MTL file by name; empty when the file is missing. Its colours are taken as display values."""
    if not path.exists():
        return {}
    entries: dict[str, dict[str, str]] = {}
    entry: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key == "newmtl":
            entry = entries.setdefault(rest.strip(), {})
        elif key:
            entry[key] = rest.strip()
    return {name: _material(entry, path.parent) for name, entry in entries.items()}


def _material(entry: dict[str, str], folder: Path) -> Material:
    def numbers(key: str, default: str) -> list[float]:
        return [float(part) for part in entry.get(key, default).split()[:3]]

    color = tuple(min(1.0, max(0.0, part)) ** 2.2 for part in numbers("Kd", "0.8 0.8 0.8"))
    opacity = numbers("d", "1")[0] if "d" in entry else 1 - numbers("Tr", "0")[0]
    polished = max(numbers("Ks", "0 0 0")) > 0.3 and numbers("Ns", "0")[0] > 20
    reflectance = 0.04 if polished else 0.0
    if opacity < 0.6:
        return Material(color=tuple(0.6 + 0.4 * part for part in color), reflectance=0.04, transparent=True)
    image = folder / entry.get("map_Kd", "").replace("\\", "/")
    if entry.get("map_Kd") and image.is_file():
        return Material("image", image=str(image), color=(1.0, 1.0, 1.0), reflectance=reflectance)
    return Material(color=color, reflectance=reflectance)

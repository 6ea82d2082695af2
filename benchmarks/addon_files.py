"""How large the .blend of a photo is, what takes the room, and how long it takes from photo to mesh:

    python benchmarks/addon_files.py [--photo PHOTO] [--width PIXELS] [--layers] [--model MODEL] [--engine ENGINE]

For a Python that has Blender as a module; ENGINE is a Python that has the engine, else this one. The photo is enlarged
or reduced to the width. The file is opened again and the rig built again from what it keeps: "same" says whether the
vertices are, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from blender_addon.engine.client import wait_for_ends  # noqa: E402
from blender_addon.engine.run import EngineOptions, EngineRun, PhotoDepth  # noqa: E402
from blender_addon.maths.mesh import MeshOptions  # noqa: E402
from blender_addon.rig.place import Recipe, place, rebuild  # noqa: E402
from blender_addon.rig.surface_kinds import BuildOptions  # noqa: E402

VERTICES = 500_000  # what the panel begins with


def resized(photo: Path, width: int, folder: Path) -> Path:
    """A copy of the photo of that width, as PNG."""
    image = bpy.data.images.load(str(photo))
    image.scale(width, round(image.size[1] * width / image.size[0]))
    path = folder / f"{photo.stem}.png"
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return path


def estimated(photo: Path, folder: Path, engine: str, model: str) -> PhotoDepth:
    """What the engine makes of the photo; it has ended then."""
    run = EngineRun([photo], folder / "maps", EngineOptions(model=model), engine=engine)
    run.begin()
    while run.poll():
        time.sleep(0.03)
    wait_for_ends()
    if not run.results:
        raise SystemExit(run.failure)
    return run.results[0]


def places(rig: Any) -> list[bytes]:
    """The vertices of all meshes of a rig."""
    found = []
    for child in sorted((one for one in rig.children if one.type == "MESH"), key=lambda one: one.name):
        values = np.empty(len(child.data.vertices) * 3, np.float32)
        child.data.attributes["position"].data.foreach_get("vector", values)
        found.append(values.tobytes())
    return found


def main() -> None:
    """Print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--photo", type=Path, default=ROOT / "docs" / "photos" / "dandelion.jpg")
    parser.add_argument("--width", type=int, help="pixels; as the photo is if not given")
    parser.add_argument("--layers", action="store_true", help="the photo in front, and what it hides behind it")
    parser.add_argument("--model", default=EngineOptions.model)
    parser.add_argument("--engine", default=sys.executable)
    given = parser.parse_args()
    recipe = Recipe(build=BuildOptions(layers=given.layers, mesh=MeshOptions(vertices=VERTICES)))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        photo = resized(given.photo, given.width, folder) if given.width else given.photo
        begun_s = time.monotonic()
        result = estimated(photo, folder, given.engine, given.model)
        engine_s = time.monotonic() - begun_s
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        engine_cpu_s = used.ru_utime + used.ru_stime
        begun_cpu_s = time.process_time()
        scene: Any = bpy.context.scene
        rig = place(scene, result, recipe).built.rig
        whole_s, building_s = time.monotonic() - begun_s, time.process_time() - begun_cpu_s
        name, before = rig.name, places(rig)
        saved = folder / "saved.blend"
        bpy.ops.wm.save_as_mainfile(filepath=str(saved), compress=False)
        print(f"{result.width} x {result.height}, Blender {bpy.app.version_string}")
        print(f"photo to mesh {whole_s:.1f} s, of which the engine {engine_s:.1f} s")
        print(f"of processors {engine_cpu_s + building_s:.1f} s, of which building {building_s:.1f} s")
        print(f"file {saved.stat().st_size / 1e6:.1f} MB, vertices {sum(map(len, before)) // 12}")
        bpy.ops.wm.open_mainfile(filepath=str(saved))
        for image in bpy.data.images:
            if image.packed_file:
                print(f"  {image.name}: {image.packed_file.size / 1e6:.1f} MB")
        rig = bpy.data.objects[name]
        scene = bpy.context.scene
        rebuild(scene, rig, recipe)
        print(f"same after opening and building again: {places(rig) == before}", flush=True)
    os._exit(0)  # Blender as a module may hang or crash where an interpreter ends


if __name__ == "__main__":
    main()

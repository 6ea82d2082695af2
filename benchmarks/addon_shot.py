"""A shot through the whole add-on with the real engine: one rig, its files, its memory, its frames seen again.

    python benchmarks/addon_shot.py --engine ENGINE [--frames 100] [--size 1920x1080] [--photo PHOTO] [--movie]

For a Python that has Blender as a module and OpenCV; ENGINE is a Python that has the engine. The frames are JPEGs of a
slow pan over a photo. After the run three frames are rendered by Cycles and compared with their pictures; then the shot
is estimated once more and cancelled in the middle.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
from addon_front import pixels_of, psnr, rendered
from addon_session import ROOT, begin, bpy, done, leave, part


def pan(photo: Path, folder: Path, count: int, width: int, height: int) -> Path:
    """Frames from number 1 on; the path of the first."""
    picture: Any = cv2.imread(str(photo))
    factor = 1.1 * max(width / picture.shape[1], height / picture.shape[0])
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    for k in range(count):
        left, top = ((large.shape[axis] - size) * k // count for axis, size in ((1, width), (0, height)))
        path = folder / f"plate.{k + 1:04d}.jpg"
        cv2.imwrite(str(path), large[top : top + height, left : left + width], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return folder / "plate.0001.jpg"


def movie(first: Path, count: int, width: int, height: int) -> Path:
    """The frames as one file, at 24 a second."""
    path = first.with_name("plate.mp4")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24, (width, height))
    for k in range(count):
        frame: Any = cv2.imread(str(first.with_name(f"plate.{k + 1:04d}.jpg")))
        writer.write(frame)
    writer.release()
    return path


def megabytes(*paths: Path) -> float:
    """Of files, and of those in folders."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files) / 1e6


def peak_mb(who: int) -> float:
    """The most that this process or an ended child of it has held."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


def cancelled_at(count: int) -> str:
    """The same shot once more, cancelled when `count` frames are done; what became of them."""
    shot, current, settings = part("ui.shot"), part("work.current"), bpy.context.scene.pro_depth
    path = Path(settings.shot)
    frames, size = shot.frames_of(path, 0, 0)
    chosen = part("ui.preferences").chosen()
    job = current.begin(
        part("work.shot_job").ShotJob(
            bpy.context.scene,
            frames,
            part("ui.properties").recipe_of(bpy.context.scene),
            part("work.folders").new_folder(part("ui.preferences").cache_folder()),
            cache=shot.new_cache(path),
            vertices=settings.shot_vertices,
            size=size,
            engine=chosen.engine,
            online=False,
        )
    )
    while job.poll() and len(job.results) < count:
        time.sleep(0.03)
    bpy.ops.pro_depth.cancel()
    while job.poll():
        time.sleep(0.03)
    made = part("rig.shown_depth").frames_of(bpy.data.objects[job.built[0]])
    return f"{len(job.results)} frames were done, the rig has {len(made)}: {job.notice.text}"


def main() -> None:
    """Print the figures, to stderr, as Blender writes to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", required=True)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--photo", type=Path, default=ROOT / "docs" / "photos" / "drum.jpg")
    parser.add_argument("--quality", default="DRAFT", help="as in the panel")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--movie", action="store_true", help="the frames as one MP4 file")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        begin(given.engine)
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
        settings = bpy.context.scene.pro_depth
        first = pan(given.photo, folder, given.frames, width, height)
        settings.shot = str(movie(first, given.frames, width, height) if given.movie else first)
        settings.quality, settings.model = given.quality, given.model
        begun_s = time.monotonic()
        say(f"Blender {bpy.app.version_string}, {given.frames} frames of {given.size}: {done(bpy.ops.pro_depth.shot)}")
        say(f"{time.monotonic() - begun_s:.0f} s")
        say(f"peak of memory: Blender {peak_mb(resource.RUSAGE_SELF):.0f} MB, "
            f"the engine {peak_mb(resource.RUSAGE_CHILDREN):.0f} MB")  # fmt: skip
        rigs = [one for one in bpy.data.objects if "pro_shot" in one]
        bpy.ops.wm.save_mainfile(compress=False)
        blend, cache = folder / "shot.blend", folder / "plate.shot"
        say(f"{len(rigs)} rig, .blend {megabytes(blend):.1f} MB, depth cache {megabytes(cache):.0f} MB")
        begun_s = time.monotonic()
        for number in range(1, given.frames + 1):
            bpy.context.scene.frame_set(number)
        say(f"scrubbing: {(time.monotonic() - begun_s) / given.frames:.3f} s a frame")
        done(bpy.ops.pro_depth.look_through)
        bpy.context.scene.view_settings.view_transform = "Standard"
        for number in (1, given.frames // 2, given.frames):
            bpy.context.scene.frame_set(number)
            seen = rendered(folder / "render.png", (100, 4))
            found = psnr(seen, pixels_of(folder / f"plate.{number:04d}.jpg"))
            say(f"frame {number}: {found:.1f} dB, open {1 - seen[..., 3].mean():.4%}")
        say(f"peak of memory, with renders: {peak_mb(resource.RUSAGE_SELF):.0f} MB")
        say(cancelled_at(max(1, given.frames // 10)))
    leave()


if __name__ == "__main__":
    main()

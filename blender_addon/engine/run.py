# SPDX-License-Identifier: GPL-3.0-or-later
"""Photos to depth maps on disk. Needs the standard library only."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

from ..errors import EngineError, UserError
from ..options import option, same_as
from .activity import Activity, Notice
from .client import START_S, Client, Event
from .why_it_ended import sentence_of_error

WORDS = {"starting": "Starting engine", "loading": "Loading model", "inferring": "Estimating"}
SILENCE_S = 300.0  # one step of a large model on a busy CPU
FETCH_SILENCE_S = 1800.0  # weights come over a slow line before anything is said
WEIGHTS = ("weights", "refiner_weights")
MAX_PIXELS = 130_000_000  # Blender counts the bytes of a float image that it packs, 16 a pixel, in 31 bits
PATIENCE = 4.0  # times what a photo is expected to take, before the engine is thought to hang
OUTPUTS = {"maps": ["npy"], "picture": True, "anchors": True}  # of the engine, all that a rig is made from
PROJECTIONS = ("auto", "pinhole", "equirectangular")
MAX_ENDS = 3  # of the engine in a row, each at another photo


@dataclass(frozen=True)
class EngineOptions:
    """What the engine is asked for; it checks the values itself and says what it knows."""

    model: str = same_as("ModelOptions.name", help="Name of the model, as the engine lists them", label="Model")
    device: str = same_as("ModelOptions.device", label="Device")
    dtype: str = same_as("ModelOptions.dtype", label="Number format")
    weights: str = same_as("ModelOptions.weights", default="", label="Weights")  # properties of Blender are never None
    refiner_weights: str = same_as("ModelOptions.refiner_weights", default="", label="Refiner's weights")
    tiles: str | tuple[int, int] = same_as("InferenceOptions.tiles", label="Patches")
    refine: str = same_as("InferenceOptions.refine", label="Refine")
    projection: str = option(
        "auto", "How the photo sees: through a lens, or all around", label="Projection", choices=PROJECTIONS
    )


class PhotoDepth(NamedTuple):
    """What the engine made of a photo; `depth.py` reads it.

    `disparity` and `depth` (metres; None if the model knows none) are .npy files of (height, width), `picture` is the
    upright PNG that they belong to. `anchors` is None for a picture without contrast. `intrinsics` is (fx, fy, cx, cy)
    in pixels, pixel centres at integers; None if neither the photo nor the model tells. `reduced`: all of it is of a
    smaller picture than the photo, which has more than `MAX_PIXELS`. `lens_source` and `scale_source` (of `depth`) are
    the engine's words, as in docs/json.md, `scale` is its scale and shift, None where it tells none. `sphere`: it is a
    whole panorama, whose maps tell of distances along the rays. `estimate`: metres of its nearest and of its farthest
    surface as a model without metres estimates them, or None.
    """

    photo: Path
    disparity: Path
    depth: Path | None
    picture: Path
    width: int
    height: int
    anchors: Mapping[str, float] | None
    intrinsics: tuple[float, float, float, float] | None
    model: str
    seconds: float
    reduced: bool = False
    lens_source: str = ""
    scale_source: str = ""
    scale: tuple[float, float] | None = None
    sphere: bool = False
    estimate: tuple[float, float] | None = None


class SkippedPhoto(NamedTuple):
    """A photo without a result, and why, in one sentence."""

    photo: Path
    reason: str


class EngineRun(Activity):
    """One run of the engine over one photo or many, in their order; the model is loaded once.

    Args:
        photos: the files; relative ones are meant from the working folder of now.
        folder: where the maps go, made by the engine; photos of the same name get folders of their own inside.
        options: for all photos; relative files of weights are meant from the working folder of now.
        engine, start_s: as of `Activity`.
        online: whether missing weights may be fetched; only if Blender's online access is on.
        shot: whether the photos are frames of one shot and share a scale.
        silence_s: seconds until the engine must have said anything at work.

    Attributes:
        state: of the engine: "starting", "loading" or "inferring".
        failure: why not all photos were tried, or none gave depth, in one sentence; "" otherwise.
        results, skipped: of the photos so far, also of a run that failed or was stopped.
        seconds_left: of the whole run, None while nobody knows.
        loads: how often the model was loaded.
        caution: what a photo is expected to take, in a sentence; "" if it is not much.
    """

    def __init__(
        self,
        photos: Iterable[str | Path],
        folder: str | Path,
        options: EngineOptions = EngineOptions(),
        *,
        engine: str = "",
        online: bool = False,
        shot: bool = False,
        start_s: float = START_S,
        silence_s: float | None = None,
    ) -> None:
        super().__init__(engine, start_s=start_s)
        self.photos = [Path(photo).absolute() for photo in photos]
        files = {name: str(Path(path).absolute()) for name in WEIGHTS if (path := getattr(options, name))}
        self.options, self.online = replace(options, **files), online
        self.shot = shot
        self.state: Literal["starting", "loading", "inferring"] = "starting"
        self.failure = ""
        self.results: list[PhotoDepth] = []
        self.skipped: list[SkippedPhoto] = []
        self.seconds_left: float | None = None
        self.loads = 0
        self.caution = ""
        self._folders = _folders(self.photos, Path(folder).absolute())
        self._silence_s = silence_s or (FETCH_SILENCE_S if online else SILENCE_S)
        self._job: int | None = None
        self._fraction = 0.0  # of the current photo
        self._opened = False  # whether the engine has come as far as the current photo
        self._asked_s = 0.0
        self._spent_s: list[float] = []  # for each result
        self._ends = 0

    @property
    def progress(self) -> float:
        """Of the whole run, 0 to 1; never falls."""
        return min(1.0, (self._index + self._fraction) / len(self.photos)) if self.photos else 0.0

    @property
    def doing(self) -> str:
        """What the engine does, and with which photo."""
        return self._counted(WORDS[self.state], self._index + 1)

    @property
    def shown(self) -> tuple[object, ...]:
        """As of `Activity`."""
        return (self.doing, self.caution, round(self.progress, 3), round(self.seconds_left or 0))

    @property
    def _index(self) -> int:
        return len(self.results) + len(self.skipped)

    def cancel(self) -> None:
        """The user wants no more of it."""
        self.stop("Cancelled.")

    def _counted(self, text: str, number: int) -> str:
        return f"{text} {number}/{len(self.photos)}" if len(self.photos) > 1 else text

    def _launch(self) -> None:
        if not self.photos:
            raise UserError("There is no photo; choose one.")
        self.state = "starting"
        super()._launch()

    def _dismiss(self) -> None:
        super()._dismiss()
        self.seconds_left, self._job = None, None

    def _go_on(self) -> None:
        if self.client is not None:
            self._hear(self.client)
        if self.client is None:
            self._conclude()

    def _hear(self, client: Client) -> None:
        for event in client.poll():
            self._take(client, event)
            if self.client is None:
                return
        if self.state == "starting" and client.ready:
            self._ask(client)
        elif self._job is not None and time.monotonic() - client.heard_s > self._silence_s:
            client.kill()
            what = "loaded the model" if self.state == "loading" else "worked"
            raise EngineError(
                f"The engine said nothing for {self._silence_s:.0f} s while it {what}, and was ended; use fewer"
                " patches, a smaller photo or another device."
            )

    def _conclude(self) -> None:
        """The engine has done its part."""
        text = self.failure or f"{len(self.results)} of {len(self.photos)} photos have depth."
        self.notice = Notice(text, bool(self.failure), lines_of(self.skipped))

    def _ask(self, client: Client) -> None:
        """Ask for the next photo; the end if there is none."""
        if self._index == len(self.photos):
            self._finish()
            return
        if self.state == "starting":
            self.state = "loading"
        self._fraction, self._opened, self._asked_s = 0.0, False, time.monotonic()
        client.heard_s = self._asked_s
        photo, folder = str(self.photos[self._index]), str(self._folders[self._index])
        values = {
            **asdict(self.options),
            **self._of_photo(),
            "offline": not self.online,
            "max_pixels": MAX_PIXELS,
            **OUTPUTS,
        }
        if self.shot:  # engines that do not know it refuse it
            values["shot"] = True
        self._job = client.ask("infer", photo=photo, folder=folder, **values)

    def _of_photo(self) -> Mapping[str, Any]:
        """What is asked of the next photo beside what is asked of all."""
        return {}

    def _take(self, client: Client, event: Event) -> None:
        if self._job is None or event.get("id") != self._job:
            return
        kind = event["event"]
        if kind == "progress":
            self._advance(event)
        elif kind == "done":
            self._receive(event.get("result"))
            self._ask(client)
        elif kind == "cancelled":
            self._skip("The engine gave the photo up; try again.")
            self._ask(client)
        elif kind == "error":
            self._give_up(client, event)

    def _advance(self, event: Event) -> None:
        phase, done, total = event.get("phase"), event.get("done"), event.get("total")
        if phase == "load":
            self.loads += 1
            self._expect(event.get("expected"))
            return
        self._opened = True
        self.state = "inferring"
        if phase == "infer" and _is_number(done) and _is_number(total) and total > 0:
            self._fraction = max(self._fraction, min(1.0, done / total))
        if _is_number(left := event.get("seconds_left")):
            self.seconds_left = max(0.0, left) + self._seconds_of_rest(left)

    def _expect(self, told: Any) -> None:
        """Say what the engine expects a photo to take, and wait accordingly."""
        memory_gb, seconds = (told.get(key) if isinstance(told, dict) else None for key in ("memory_gb", "seconds"))
        if not (_is_number(memory_gb) and _is_number(seconds)):
            return
        time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        self.caution = (
            f"Each photo is expected to take about {memory_gb:.1f} GB of memory and {time}; another Model or Quality "
            "takes less."
        )
        self._silence_s = max(self._silence_s, PATIENCE * seconds)

    def _seconds_of_rest(self, left: float) -> float:
        """For the photos after this one, by the mean of those before or by this one."""
        this = time.monotonic() - self._asked_s + left
        mean = sum(self._spent_s) / len(self._spent_s) if self._spent_s else this
        return mean * (len(self.photos) - self._index - 1)

    def _receive(self, result: Any) -> None:
        try:
            record = _record(self.photos[self._index], result)
        except (KeyError, TypeError, ValueError):
            self._skip("The engine's answer is not complete; update the engine.")
            return
        self._spent_s.append(time.monotonic() - self._asked_s)
        self._ends = 0
        self._fraction = 0.0
        self.results.append(record)

    def _give_up(self, client: Client, event: Event) -> None:
        """One photo is skipped; what went wrong before the photo was opened would go wrong with every one."""
        reason = sentence_of_error(client.command, event)
        reason = reason.replace("offline mode is on", "Blender's online access is off")  # the switch that users know
        reason = reason.replace(", or set any_revision to take it as it is", "")  # a switch that they do not have
        if self._opened:
            self._skip(reason)
            self._ask(client)
        else:
            self._fail(reason)

    def _skip(self, reason: str) -> None:
        self._fraction = 0.0
        self.skipped.append(SkippedPhoto(self.photos[self._index], reason))

    def _lose_engine(self, reason: str) -> None:
        """It died, of this photo, it may be, so another one is started for the next."""
        if self.state == "starting" or self._job is None:
            self._fail(reason)
            return
        self._ends += 1
        self._skip(reason)
        self._dismiss()
        if self._index == len(self.photos):
            self._finish()
        elif self._ends == MAX_ENDS:
            self._fail(f"The engine ended at {MAX_ENDS} photos in a row, at the last one so: {reason}")
        else:
            self._try(self._launch)

    def _finish(self) -> None:
        """No photo is left."""
        first, count = self.skipped[:1], len(self.photos)
        if first and not self.results:
            self.failure = first[0].reason
            if count > 1:
                self.failure = f"None of the {count} photos gave depth, the first one so: {self.failure}"
        self._dismiss()

    def _fail(self, sentence: str) -> None:
        self.failure = sentence
        self._dismiss()


def lines_of(skipped: Iterable[SkippedPhoto]) -> tuple[str, ...]:
    """What to say of photos without a result, a line each."""
    return tuple(f"{one.photo.name}: {one.reason}" for one in skipped)


def _folders(photos: list[Path], folder: Path) -> list[Path]:
    """Where the maps of each photo go. The engine names them after the photo without its ending, so a.jpg and a.png
    would overwrite each other, and A.jpg and a.jpg on some disks.
    """
    seen: dict[str, int] = {}
    found = []
    for photo in photos:
        count = seen[photo.stem.casefold()] = seen.get(photo.stem.casefold(), 0) + 1
        found.append(folder if count == 1 else folder / str(count))
    return found


def _record(photo: Path, result: Mapping[str, Any]) -> PhotoDepth:
    """The engine's answer as a record. KeyError, TypeError, ValueError: it is not what the protocol says."""
    files = {out["kind"]: Path(out["path"]) for out in result["outputs"]}
    k, anchors = result["lens"], result["anchors"]
    scale, estimate = result.get("scale"), result.get("estimate")
    sphere = k.get("projection") == "equirectangular"
    known = not sphere and k["source"] != "assumed"
    return PhotoDepth(
        photo=photo,
        disparity=files["disparity"],
        depth=files.get("depth"),
        picture=files["picture"],
        width=int(result["width"]),
        height=int(result["height"]),
        anchors=None if anchors is None else {name: float(value) for name, value in dict(anchors).items()},
        intrinsics=(float(k["fx"]), float(k["fy"]), float(k["cx"]), float(k["cy"])) if known else None,
        lens_source=str(k["source"]),
        scale_source="" if scale is None else str(scale["source"]),
        scale=None if scale is None or "shift" not in scale else (float(scale["scale"]), float(scale["shift"])),
        model=str(result["model"]),
        seconds=float(result["seconds"]),
        reduced=bool(result["reduced"]),
        sphere=sphere,
        estimate=None if estimate is None else (float(estimate["near_m"]), float(estimate["far_m"])),
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

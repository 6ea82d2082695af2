"""`pro-engine serve`: the engine for another program, over pipes.

One JSON object a line, requests on stdin, answers on stdout; everything else that is printed goes to stderr. No port is
opened. One job runs at a time, in the order of the requests; the model stays loaded between jobs. The process ends when
stdin closes, so it never outlives its parent.

Requests have `do` and an `id` of the caller's choice, which every answer repeats:

    {"id": 1, "do": "info"}
    {"id": 2, "do": "infer", "photo": "/p/a.jpg", "folder": "/p/cache", "model": "compact", "device": "auto",
     "dtype": "auto", "weights": null, "refiner_weights": null, "offline": true, "tiles": "auto", "refine": "trained"}
    {"id": 3, "do": "cancel", "job": 2}
    {"id": 4, "do": "quit"}

Answers have an `event`; the first line is {"event": "ready", "protocol": 1, ...}. A job gives any number of
{"event": "progress", "id": 2, "phase": "infer", "done": 3, "total": 17, "seconds_left": 4.2} and then one of
{"event": "done", "id": 2, "result": {...}}, {"event": "cancelled", "id": 2} or
{"event": "error", "id": 2, "kind": "FileError", "message": "one sentence"}.

The result of `infer` names files of `pro_engine.io.arrays`: `disparity` (H, W) float32, NaN where there was nothing to
look at, and `depth` in metres if the model is metric; `picture`, an upright 8-bit PNG of what the model saw;
`anchors`, the disparity of the nearest and of the farthest surface with and without sky, from which near and far make
metres; `intrinsics` if the photo tells them. With "shot": true the photo is the next frame of the shot that the request
before it belonged to: its map is on the same scale, and `anchors` are those of the first frame, unless there was a cut.
A photo of more than "max_pixels", if that is given, is reduced before the model sees it, and "reduced" in the result is
true; all of the result is of the reduced picture.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

import pro_engine as pro
from pro_engine.io.arrays import save_array
from pro_engine.io.image import reduced_image, save_image
from pro_engine.process import give_memory_back

PROTOCOL = 1
GRACE_S = 1.0  # for a job under way, once stdin is closed
_MODEL_KEYS = ("model", "device", "dtype", "weights", "refiner_weights", "offline")
_INFER_KEYS = {"photo", "folder", "tiles", "refine", "shot", "max_pixels", *_MODEL_KEYS}

Request = Mapping[str, Any]


class Worker:
    """Answers requests from `requests` on `answers` until `quit` or the end of the input.

    `load` is `pro_engine.load_model` or something of the same form.
    """

    def __init__(self, requests: IO[str], answers: IO[str], *, load: Callable[..., Any] | None = None) -> None:
        self._requests, self._answers = requests, answers
        self._load = load or pro.load_model
        self._jobs: queue.Queue[Request | None] = queue.Queue()
        self._lock = threading.Lock()
        self._cancelled: set[Any] = set()
        self._closing = False
        self._running: Any = None
        self._loaded: tuple[Any, ...] | None = None
        self._predictor: Any = None
        self._shot: _Shot | None = None
        self._verbs: dict[str, Callable[[Request], dict[str, Any]]] = {"info": self._info, "infer": self._infer}

    def run(self) -> None:
        """Work until there is nothing more to come."""
        self._say("ready", protocol=PROTOCOL, version=pro.__version__, pid=os.getpid())
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._jobs.get()) is not None:
            self._work(request)

    def _listen(self) -> None:
        for line in self._requests:
            request, complaint = _parsed(line)
            if complaint:
                self._say("error", id=request.get("id"), kind="InputError", message=complaint)
            elif request["do"] == "cancel":
                self._cancelled.add(request.get("job"))
            elif request["do"] == "quit":
                break
            else:
                self._jobs.put(request)
        self._closing = True
        self._jobs.put(None)
        time.sleep(GRACE_S)
        os._exit(0)  # a job that does not end by itself must not outlive the parent

    def _work(self, request: Request) -> None:
        job = self._running = request.get("id")
        try:
            self._go_on()
            verb = self._verbs.get(request["do"])
            if verb is None:
                raise pro.InputError(f"There is no request {request['do']!r}; give {', '.join(self._verbs)} or cancel.")
            self._say("done", id=job, result=verb(request))
        except pro.CancelledError:
            self._say("cancelled", id=job)
        except pro.ProEngineError as error:
            self._say("error", id=job, kind=type(error).__name__, message=" ".join(str(error).split()))
        except MemoryError:
            self._say("error", id=job, kind="DeviceError", message="The memory did not suffice; use a smaller photo.")
        except Exception as error:  # a bug of ours ends the job, not the worker
            traceback.print_exc()
            self._say("error", id=job, kind="Bug", message=f"{type(error).__name__}: {error}; please report it.")
        finally:
            self._cancelled.discard(job)
            self._running = None
            give_memory_back()  # the next job may be hours away

    def _go_on(self) -> None:
        if self._closing or self._running in self._cancelled:
            raise pro.CancelledError("The caller asked to stop.")

    def _say(self, event: str, **values: Any) -> None:
        with self._lock:
            try:
                self._answers.write(json.dumps({"event": event, **values}, allow_nan=False) + "\n")
                self._answers.flush()
            except (BrokenPipeError, ValueError):  # nobody reads any more: the end of stdin follows
                self._closing = True

    def _info(self, request: Request) -> dict[str, Any]:
        from pro_engine.jobs.system import list_models, system_info

        return {**system_info(), "protocol": PROTOCOL, "models": list_models()}

    def _infer(self, request: Request) -> dict[str, Any]:
        unknown = set(request) - _INFER_KEYS - {"id", "do"}
        if unknown:
            names, known = ", ".join(sorted(unknown)), ", ".join(sorted(_INFER_KEYS))
            raise pro.InputError(f"infer does not know {names}; it knows {known}.")
        photo, folder = (Path(_text(request, key)) for key in ("photo", "folder"))
        options, limit = _options(request), _max_pixels(request)
        predictor = self._model(request)
        self._shot = (self._shot or _Shot()) if request.get("shot") else None
        begun_s = time.monotonic()
        self._progress("read", 0, 1)
        image, intrinsics = pro.load_image(photo)
        reduced = image.shape[0] * image.shape[1] > limit
        if reduced:
            image, intrinsics = reduced_image(image, intrinsics, int(limit))
        self._go_on()

        def show(done: int, total: int) -> bool:
            spent_s = time.monotonic() - begun_s
            self._progress("infer", done, total, seconds_left=round(spent_s / done * (total - done), 1))
            return not self._closing and self._running not in self._cancelled

        result = predictor.infer(image, intrinsics=intrinsics, options=options, progress=show)
        self._progress("write", 0, 1)
        if self._shot is not None:
            result = self._shot.held(image, result)
        anchors = _anchors if self._shot is None else self._shot.anchors
        return {**self._written(result, image, folder / photo.stem, anchors), "reduced": reduced}

    def _model(self, request: Request) -> Any:
        """The model that the request names, loaded now if it is another one than before."""
        wanted = tuple(request.get(key) for key in _MODEL_KEYS)
        if wanted != self._loaded:
            self._progress("load", 0, 1)
            self._predictor = self._loaded = None  # the memory of the old one is needed
            name, device, dtype, weights, refiner_weights, offline = wanted
            self._predictor = self._load(
                name or "compact",
                device=device or "auto",
                dtype=dtype or "auto",
                weights=weights or None,
                refiner_weights=refiner_weights or None,
                offline=bool(offline),
            )
            self._loaded = wanted
            self._go_on()
        return self._predictor

    def _progress(self, phase: str, done: int, total: int, **more: Any) -> None:
        self._say("progress", id=self._running, phase=phase, done=done, total=total, **more)

    def _written(
        self, result: pro.DepthResult, image: Any, stem: Path, anchors: Callable[[Any], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Write the maps and the picture beside each other as STEM.*; the paths and what else is known."""
        disparity = result.disparity
        if not result.valid.all():
            disparity = np.where(result.valid, disparity, np.float32(np.nan))
        paths = {"disparity": f"{stem}.disparity.array", "picture": f"{stem}.picture.png"}
        save_array(paths["disparity"], disparity, about={"quantity": "disparity"})
        if result.depth is not None:
            paths["depth"] = f"{stem}.depth.array"
            save_array(paths["depth"], result.depth, about={"quantity": "depth", "unit": "m"})
        save_image(paths["picture"], image)
        k = result.intrinsics
        return {
            **paths,
            "width": disparity.shape[1],
            "height": disparity.shape[0],
            "anchors": anchors(disparity),
            "intrinsics": None if k is None else {"fx": k.fx, "fy": k.fy, "cx": k.cx, "cy": k.cy},
            "model": result.model,
            "tiles": result.tiles,
            "seconds": round(result.seconds, 3),
        }


class _Shot:
    """What the frames of a shot share."""

    def __init__(self) -> None:
        from pro_engine.inference.video import ScaleHold

        self._hold = ScaleHold()
        self._cuts = 0
        self._anchors: dict[str, Any] | None = None

    def held(self, image: Any, result: pro.DepthResult) -> pro.DepthResult:
        """The result of the next frame, on the scale of those before it."""
        held = self._hold.apply(image, result)
        if self._hold.cuts != self._cuts:
            self._cuts, self._anchors = self._hold.cuts, None
        return held

    def anchors(self, disparity: Any) -> dict[str, Any] | None:
        """Those of the first frame since a cut that has any; the nearest thing in view may be another later."""
        self._anchors = self._anchors or _anchors(disparity)
        return self._anchors


def _parsed(line: str) -> tuple[dict[str, Any], str]:
    """A request, and what is wrong with it ('' if nothing)."""
    try:
        request = json.loads(line)
    except ValueError:
        return {}, "The line is not JSON; give one object a line."
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        return {}, 'The request has no "do"; give {"id": ..., "do": "info"} or others.'
    if isinstance(request.get("id"), (list, dict)) or isinstance(request.get("job"), (list, dict)):
        return {}, "The id is not a number or text; give one."
    return request, ""


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise pro.InputError(f"{key} is {value!r}; give a path.")
    return value


def _max_pixels(request: Request) -> float:
    value = request.get("max_pixels", math.inf)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 1:
        raise pro.InputError(f"max_pixels is {value!r}; give a number from 1.")
    return value


def _options(request: Request) -> pro.InferenceOptions:
    given = {key: request[key] for key in ("tiles", "refine") if key in request}
    if isinstance(given.get("tiles"), list):
        given["tiles"] = tuple(given["tiles"])
    return pro.InferenceOptions(**given)


def _anchors(disparity: Any) -> dict[str, Any] | None:
    """Disparity of the nearest surface, of the farthest, and of the farthest in front of sky; None if it has none.

    A range of 1 to 2 metres gives them back: the scale is (1 - 1/2) over their distance.
    """

    def pair(cut: bool) -> tuple[float, float]:
        link = pro.range_scale_shift(disparity, near_m=1.0, far_m=2.0, cut_plateau=cut)
        return (1.0 - link.shift) / link.scale, (0.5 - link.shift) / link.scale

    try:
        (near, far), (_, before_sky) = pair(False), pair(True)
    except pro.InputError:  # no contrast
        return None
    return {"near": near, "far": far, "far_before_sky": before_sky}


def serve() -> None:
    """Serve on this process's stdin and stdout. What others print on stdout comes out on stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the parent's terminal is meant for the parent
    sys.stdout = sys.stderr
    Worker(open(0, encoding="utf-8", errors="replace", closefd=False), answers).run()  # noqa: SIM115

"""`pro-engine serve`: the engine for another program, over pipes. What is done with a photo is `photo_job`'s.

One JSON object a line, requests on stdin, answers on stdout; everything else that is printed goes to stderr. No port is
opened. One job runs at a time, in the order of the requests; the model stays loaded between jobs. The process ends when
stdin closes, so it never outlives its parent.

Requests have `do` and an `id` of the caller's choice, which every answer repeats:

    {"id": 1, "do": "info"}
    {"id": 2, "do": "infer", "photo": "/p/a.jpg", "folder": "/p/cache", "model": "compact", "offline": true,
     "tiles": [4, 4], "maps": ["npy"], "picture": true, "anchors": true}
    {"id": 3, "do": "cancel", "job": 2}
    {"id": 4, "do": "quit"}

An id is a text or a finite number. `cancel` names a job that waits or runs; another one it does not touch. A line ends
after at most 1,048,576 characters.

`infer` knows `photo` and `folder`, which it must have, and the options of `ModelOptions`, `InferenceOptions` and
`JobOptions` by the names of their fields, but for those in `WORDS`; what is left out or null has its default. A text is
given for a path ("" for none), a list for several values. With "shot": true the photo is the next frame of the shot
that the request before it belonged to. With "frame": 12 the photo is that frame of a video, from 1; one after another,
they are read once.

Answers have an `event`; the first line is {"event": "ready", "protocol": 2, ...}. A job gives any number of
{"event": "progress", "id": 2, "phase": "infer", "done": 3, "total": 17, "seconds_left": 4.2}, where the phases are
load, read, infer and write; load has "expected": {"memory_gb": 9.5, "seconds": 160} where a photo will take more than
4 GB or two minutes, by a table. Then comes one of {"event": "done", "id": 2, "result": {...}}, {"event": "cancelled",
"id": 2} or {"event": "error", "id": 2, "kind": "FileError", "message": "one sentence"}. The result of `infer` is the
record of the photo that `pro-engine infer --json` prints, see docs/json.md.

Protocol 1 had results of its own and maps in a format of its own.
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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

import pro_engine as pro
from pro_engine.io.paths import as_path
from pro_engine.jobs.kept_memory import give_memory_back
from pro_engine.jobs.options import JobOptions
from pro_engine.options import InferenceOptions, ModelOptions, OptionError, hint_of, options_of

if TYPE_CHECKING:
    from pro_engine.inference.load import ModelHolder
    from pro_engine.jobs.photo_job import PhaseProgress
    from pro_engine.jobs.scale import ShotScale
    from pro_engine.jobs.video_frames import VideoFrames

PROTOCOL = 2
GRACE_S = 1.0  # for a job under way, once stdin is closed
LONGEST_LINE = 1 << 20
WORDS = {"name": "model", "sequence": "shot"}
"""What a request calls an option that does not go by the name of its field."""
DECIDED = {"keep_alpha", "keep_coarse", "keep_normals", "keep_sky"}
"""Options that `PhotoJob` sets itself."""

Request = Mapping[str, Any]


def word_of(name: str) -> str:
    """What a request calls the option `name`."""
    return WORDS.get(name, name)


KEYS = {word_of(one.name) for owner in (ModelOptions, InferenceOptions, JobOptions) for one in options_of(owner)}
KEYS = (KEYS - DECIDED) | {"photo", "folder", "frame"}
"""What a request for `infer` may hold beside `id` and `do`."""


class Server:
    """Answers requests from `requests` on `answers` until `quit` or the end of the input."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests, self._answers = requests, answers
        self._jobs: queue.Queue[Request | None] = queue.Queue()
        self._lock, self._lock_of_jobs = threading.Lock(), threading.Lock()
        self._waiting: list[Any] = []  # ids of jobs that wait or run
        self._cancelled: set[Any] = set()
        self._closing = False
        self._running: Any = None
        self._models: ModelHolder | None = None
        self._shot: ShotScale | None = None
        self._video: VideoFrames | None = None
        self._verbs: dict[str, Callable[[Request], dict[str, Any]]] = {"info": self._info, "infer": self._infer}

    def run(self) -> None:
        """Work until there is nothing more to come."""
        self._say("ready", protocol=PROTOCOL, version=pro.__version__, pid=os.getpid())
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._jobs.get()) is not None:
            self._work(request)

    def _listen(self) -> None:
        try:
            while line := self._requests.readline(LONGEST_LINE):
                if not self._take(line):
                    break
            self._closing = True
            self._jobs.put(None)
            time.sleep(GRACE_S)
        finally:
            os._exit(0)  # a job that does not end by itself must not outlive the parent

    def _take(self, line: str) -> bool:
        """Do or queue what a line asks for; False once there is nothing more to do."""
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            while (rest := self._requests.readline(LONGEST_LINE)) and not rest.endswith("\n"):
                pass
            line = ""
        request, complaint = _parsed(line)
        if complaint:
            self._say("error", id=request.get("id"), kind="InputError", message=complaint)
        elif request["do"] == "quit":
            return False
        elif request["do"] == "cancel":
            with self._lock_of_jobs:
                self._cancelled |= {request["job"]} & set(self._waiting)
        else:
            self._waiting.append(request.get("id"))
            self._jobs.put(request)
        return True

    def _work(self, request: Request) -> None:
        job = self._running = request.get("id")
        try:
            self._stop_if_asked()
            verb = self._verbs.get(request["do"])
            if verb is None:
                raise pro.InputError(f"There is no request {request['do']!r}; give {', '.join(self._verbs)} or cancel.")
            self._say("done", id=job, result=verb(request))
        except pro.CancelledError:
            self._say("cancelled", id=job)
        except pro.ProEngineError as error:
            text = error.worded(word_of) if isinstance(error, OptionError) else str(error)
            self._say("error", id=job, kind=type(error).__name__, message=" ".join(text.split()))
        except MemoryError:
            self._say("error", id=job, kind="DeviceError", message="The memory did not suffice; use a smaller photo.")
        except Exception as error:  # a bug of ours ends the job, not the server
            traceback.print_exc()
            self._say("error", id=job, kind="Bug", message=f"{type(error).__name__}: {error}; please report it.")
        finally:
            with self._lock_of_jobs:
                self._waiting.remove(job)
                self._cancelled.discard(job)
            self._running = None
            give_memory_back()  # the next job may be hours away

    def _stop_if_asked(self) -> None:
        if not self._may_go_on:
            raise pro.CancelledError("The caller asked to stop.")

    @property
    def _may_go_on(self) -> bool:
        return not self._closing and self._running not in self._cancelled

    def _say(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}, allow_nan=False) + "\n"
        with self._lock:
            try:
                self._answers.write(line)
                self._answers.flush()
            except (OSError, ValueError):  # nobody reads any more: the end of stdin follows
                self._closing = True

    def _info(self, request: Request) -> dict[str, Any]:
        from pro_engine.jobs.models import list_models
        from pro_engine.jobs.system import system_info

        return {**system_info(), "protocol": PROTOCOL, "models": list_models()}

    def _infer(self, request: Request) -> dict[str, Any]:
        from pro_engine.inference import load
        from pro_engine.inference.cost import TYPICAL_SIZE, expected_cost
        from pro_engine.io.pictures import size_told
        from pro_engine.jobs.photo_job import PhotoJob
        from pro_engine.jobs.photos import Photo
        from pro_engine.jobs.video_frames import VideoFrames

        if unknown := set(request) - KEYS - {"id", "do"}:
            unknown_words, known_words = (", ".join(sorted(words)) for words in (unknown, KEYS))
            raise pro.InputError(f"infer does not know {unknown_words}; it knows {known_words}.")
        path, folder = (as_path(_text(request, key)) for key in ("photo", "folder"))
        job = PhotoJob(folder, _options(JobOptions, request), _options(InferenceOptions, request))
        self._models = self._models or load.ModelHolder()
        model = _options(ModelOptions, request)

        def before() -> None:
            cost = expected_cost(model, job.inference, size_told(path) or TYPICAL_SIZE)
            told = {"memory_gb": round(cost.memory_bytes / 1e9, 1), "seconds": round(cost.seconds)}
            self._progress("load", 0, 1, **({"expected": told} if cost.is_large else {}))

        predictor = self._models.get(model, before=before)
        self._stop_if_asked()
        self._shot = job.shot(self._shot)
        photo = Photo(path, path.stem)
        if request.get("frame") is not None:
            self._video = self._video or VideoFrames()
            photo = self._video.photo(path, request["frame"])
        return job.run(photo, predictor, shot=self._shot, progress=self._steps()).to_json()

    def _steps(self) -> PhaseProgress:
        begun_s = time.monotonic()

        def step(phase: str, done: int, total: int) -> bool:
            left_s = (time.monotonic() - begun_s) / max(done, 1) * (total - done)
            self._progress(phase, done, total, **{"seconds_left": round(left_s, 1)} if phase == "infer" else {})
            return self._may_go_on

        return step

    def _progress(self, phase: str, done: int, total: int, **more: Any) -> None:
        self._say("progress", id=self._running, phase=phase, done=done, total=total, **more)


def _parsed(line: str) -> tuple[dict[str, Any], str]:
    """A request, and what is wrong with it ('' if nothing); the request is empty where its id cannot be repeated.

    A line that is too long comes as an empty text.
    """
    if not line:
        return {}, f"The line has more than {LONGEST_LINE} characters; give a shorter one."
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}, "The line is not JSON; give one object a line."
    if not isinstance(request, dict):
        return {}, "The line is no JSON object; give one."
    named = {key: request[key] for key in ("id", "job") if key in request}
    if not all(isinstance(name, (str, int, float, type(None))) and name == name for name in named.values()) or (
        {math.inf, -math.inf} & set(named.values())
    ):
        return {}, "The id is not a text or a finite number; give one."
    if any(isinstance(item, (list, dict)) for value in request.values() for item in _items(value)):
        return named, "The request holds a list or an object within another; give texts, numbers and lists of them."
    try:
        json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return {}, "The request holds half of a character (a lone surrogate); give whole ones."
    if not isinstance(request.get("do"), str):
        return named, 'The request has no "do"; give {"id": ..., "do": "info"} or others.'
    if request["do"] == "cancel" and "job" not in request:
        return named, 'The request has no "job"; give the id of the one to cancel.'
    return request, ""


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else value.values() if isinstance(value, dict) else (value,)


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise pro.InputError(f"{key} is {value!r}; give a path.")
    return value


def _options(owner: type, request: Request) -> Any:
    """The `owner`, a class of options, that a request describes. Raises OptionError."""
    given: dict[str, Any] = {}
    for name in (one.name for one in options_of(owner) if word_of(one.name) in KEYS):
        value = request.get(word_of(name))
        if isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and Path in get_args(hint_of(owner, name)):
            value = Path(value) if value else None
        if value is not None:
            given[name] = value
    return owner(**given)


def serve() -> None:
    """Serve on this process's stdin and stdout. What others print on stdout comes out on stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the parent's terminal is meant for the parent
    sys.stdout = sys.stderr
    Server(open(0, encoding="utf-8", errors="replace", closefd=False), answers).run()  # noqa: SIM115

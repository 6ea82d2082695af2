"""The model behind the node: loading it, running it, and turning what can go wrong into causes."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

import pro_engine as pro
from ros2_pro.faults import MessageError
from ros2_pro.frames.rotation import turned, turned_back, turned_lens
from ros2_pro.settings import EngineSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SeenLens(NamedTuple):
    """Intrinsics of a picture, and whether the camera tells them ("given") or they are the fallback's ("assumed")."""

    intrinsics: pro.Intrinsics
    lens_source: Literal["given", "assumed"]


Loader = Callable[..., Any]
USUAL_SIZE = (1080, 1920)  # height and width of a camera's images
MIN_SIDE = 32  # pixels; smaller pictures are refused by the model


class Models:
    """The models in memory, each once: engines that ask for the same one share it, until none of them has it.

    `load` replaces `pro_engine.load_model`.
    """

    def __init__(self, load: Loader | None = None) -> None:
        self.are_ours = load is None
        self._load = load
        self._loading = threading.Lock()
        self._known: WeakValueDictionary[pro.ModelOptions, Any] = WeakValueDictionary()

    def known(self, wanted: pro.ModelOptions) -> Any:
        """The newest model of these options that somebody has; None if nobody does."""
        return self._known.get(wanted)

    def get(self, wanted: pro.ModelOptions, *, again: bool = False, before: Callable[[], object]) -> Any:
        """The model of these options, loaded after a call of `before` if nobody has it, or `again`.

        Raises what loading it does.
        """
        with self._loading:
            model = None if again else self._known.get(wanted)
            if model is None:
                before()
                given, load = dataclasses.asdict(wanted), self._load or pro.load_model  # the latter loads PyTorch
                model = self._known[wanted] = load(given.pop("name"), **given)
            return model


class Engine:
    """A model for one camera, which is fetched when its settings ask for another one. Used from one thread at a time.

    `tell` is told before one of `pro_engine.load_model` is loaded that takes much.
    """

    def __init__(self, models: Models | None = None, tell: Callable[[str], object] = lambda text: None) -> None:
        self._models = models or Models()
        self._tell = tell
        self._predictor: Any = None
        self._loaded: pro.ModelOptions | None = None
        self._refused: pro.ModelOptions | None = None
        self._refusal = ""
        self._hold: pro.ScaleHold | None = None  # made when it is wanted, as its module loads PyTorch

    @property
    def name(self) -> str:
        """Of the model that is loaded, and of another one that looks at the patches."""
        return getattr(self._predictor, "full_name", self._predictor.name) if self._predictor is not None else ""

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._predictor.device) if self._predictor is not None else ""

    @property
    def dtype(self) -> str:
        """Its number format."""
        return getattr(self._predictor, "dtype_name", "")

    def ensure(self, settings: EngineSettings, *, again: bool = False) -> None:
        """Take the model that the settings name, if it is not the one at hand (or `again`: from its files anew, for all
        who share it).

        A model that failed to load is not tried for every frame; the one before stays in use.

        Raises:
            MessageError: "load_failed"; without a model at hand, each time.
        """
        wanted = settings.of_model()
        if not again and wanted == self._loaded and self._models.known(wanted) is self._predictor:
            return
        if not again and wanted == self._refused:
            if self._predictor is None:
                raise MessageError("load_failed", self._refusal)
            return
        try:
            predictor = self._models.get(wanted, again=again, before=lambda: self._tell_if_much(settings))
        except (pro.ProEngineError, MemoryError, OSError, RuntimeError, ImportError) as error:
            self._refused, self._refusal = wanted, f"Model {settings.model} cannot be loaded: {_worded(error)}"
            raise MessageError("load_failed", self._refusal) from error
        self._predictor, self._loaded, self._refused = predictor, wanted, None
        self._hold = None

    def _tell_if_much(self, settings: EngineSettings) -> None:
        if self._models.are_ours and (caution := _caution(settings)):
            self._tell(caution)

    def refuses(self, settings: EngineSettings) -> bool:
        """Whether there is no model, and the one that the settings name failed to load."""
        return self._predictor is None and settings.of_model() == self._refused

    def infer(
        self,
        image: NDArray[np.uint8],
        settings: EngineSettings,
        go_on: Callable[[], bool],
        lens: SeenLens | None = None,
        quarter_turns: int = 0,
    ) -> pro.DepthResult:
        """Depth of a picture (H, W, 3) uint8 RGB and its lens, which metres of some models follow from.

        `go_on` is asked between passes; False ends with CancelledError. The model sees the picture turned clockwise by
        so many quarter turns; the result is of the picture as given.

        Raises:
            MessageError: too_small, engine_memory, engine_error or engine_output.
        """
        image = turned(image, quarter_turns)
        if lens is not None:
            lens = lens._replace(intrinsics=turned_lens(lens.intrinsics, quarter_turns))
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise MessageError(
                "too_small", f"The image is {width}x{height}; the model needs {MIN_SIDE} pixels a side or more."
            )
        try:
            result: pro.DepthResult = self._predictor.infer(
                image,
                options=settings.of_inference(),
                progress=lambda done, total: go_on(),
                **({} if lens is None else lens._asdict()),
            )
        except pro.CancelledError:
            raise
        except (MemoryError, pro.DeviceError) as error:
            raise MessageError("engine_memory", f"{error or 'Out of memory'}; use a coarser engine.tiles.") from error
        except Exception as error:  # a model may raise anything, and the next frame may be fine
            raise MessageError("engine_error", f"{type(error).__name__}: {error}") from error
        _check(result, height, width)
        if not settings.hold_scale:
            self._hold = None
        else:
            self._hold = self._hold or pro.ScaleHold()
            result = self._hold.apply(image, result)
        return turned_back(result, quarter_turns)


def _caution(settings: EngineSettings) -> str:
    """What an image is expected to take, if it is much; else ""."""
    height, width = USUAL_SIZE
    cost = pro.expected_cost(settings.of_model(), settings.of_inference(), USUAL_SIZE)
    if not cost.is_large:
        return ""
    return (
        f"engine.model {settings.model} is expected to take {cost} for an image of {width}x{height}; another "
        "engine.model, fewer engine.tiles or a smaller engine.fine take less."
    )


def _worded(error: Exception) -> str:
    """What an error says, with options by their parameters' names."""
    return error.worded(lambda name: f"engine.{name}") if isinstance(error, pro.OptionError) else str(error)


def _check(result: pro.DepthResult, height: int, width: int) -> None:
    disparity = getattr(result, "disparity", None)
    shape = getattr(disparity, "shape", None)
    if disparity is None or shape != (height, width) or disparity.dtype != np.float32:
        raise MessageError("engine_output", f"The model gave {shape} for an image of {(height, width)}.")
    # One sum instead of a mask of the size of the image: it is finite unless an element is not.
    if not math.isfinite(float(np.sum(disparity, dtype=np.float64))):
        raise MessageError("engine_output", "The model gave values that are not finite; try engine.dtype float32.")

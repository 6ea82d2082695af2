# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine does beside Blender, from its start to its end. Whoever has a timer or a loop drives it:

    activity.begin()
    while activity.poll():
        time.sleep(0.1)
    activity.notice

The window's operators, `blender -b` and the tests use the same classes. Needs the standard library only.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import NamedTuple

from ..errors import EngineError, NoEngineError, UserError
from .client import START_S, Client
from .find import engine_command


class Notice(NamedTuple):
    """What the panel says: a sentence, whether it is bad news, and a line for each photo that failed."""

    text: str
    is_error: bool = False
    details: tuple[str, ...] = ()


class Activity:
    """One activity; there are two kinds, `job.Job` and `engine_test.EngineTest`.

    Args:
        engine: as `find.engine_command` takes it.
        start_s: seconds until the engine must be ready.

    Attributes:
        client: the engine's process as long as it is needed.
        lacks_engine: whether no engine was found, so that another one has to be chosen.
        notice: what came of it, once it is over.
    """

    def __init__(self, engine: str = "", *, start_s: float = START_S) -> None:
        self.client: Client | None = None
        self.notice: Notice | None = None
        self.lacks_engine = False
        self._engine, self._start_s = engine, start_s

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.notice is not None

    @property
    def worked(self) -> bool:
        """Whether something came of it."""
        return self.notice is not None and not self.notice.is_error

    @property
    def doing(self) -> str:
        """A few words while it goes on."""
        raise NotImplementedError

    @property
    def shown(self) -> tuple[object, ...]:
        """What a bar shows of it, to be drawn again when it has changed."""
        return (self.doing,)

    def begin(self) -> None:
        """Start the engine. What goes wrong is told by `notice`, here as later."""
        self._try(self._launch)

    def poll(self) -> bool:
        """Go on a little; whether more comes. Never waits."""
        if not self.over:
            self._try(self._go_on)
        return not self.over

    def stop(self, why: str, *, is_error: bool = False) -> None:
        """End the engine and be over, at once; the engine is gone within 3 s, see `client.reap`. Harmless when over."""
        self._dismiss()
        self.notice = self.notice or Notice(why, is_error)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except EngineError as error:
            self.lacks_engine = isinstance(error, NoEngineError)
            self._lose_engine(str(error))
        except Exception as error:
            self.stop(sentence_of(error), is_error=True)

    def _launch(self) -> None:
        self.client = Client(engine_command(self._engine), start_s=self._start_s)

    def _dismiss(self) -> None:
        """The engine is needed no more."""
        if self.client is not None:
            self.client.quit()
        self.client = None

    def _go_on(self) -> None:
        raise NotImplementedError

    def _lose_engine(self, reason: str) -> None:
        """It could not be started, or has died."""
        self.stop(reason, is_error=True)


def sentence_of(error: Exception) -> str:
    """What to tell of an error; one that is a mistake of ours goes to the console in full."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory did not suffice; lower the number of vertices, or use a smaller photo."
    traceback.print_exception(error)
    return f"Something unexpected happened ({type(error).__name__}); please report what the console says."

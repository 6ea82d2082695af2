"""Items that are taken in a thread of their own."""

from __future__ import annotations

import threading
import weakref
from contextlib import closing

from pro_engine.inference.ahead import ahead


class Thing:
    """Something of which one can see when it goes."""


def test_what_was_used_is_not_kept_while_the_next_is_waited_for():
    gone = threading.Event()

    def things():
        thing = Thing()
        weakref.finalize(thing, gone.set)
        yield thing
        del thing
        yield gone.wait(60)

    with closing(ahead(things(), 1)) as found:
        assert isinstance(next(found), Thing)
        assert next(found) is True

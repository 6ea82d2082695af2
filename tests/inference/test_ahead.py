"""Items that are taken in a thread of their own."""

from __future__ import annotations

import threading
import time
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


def test_breaking_off_what_has_ended_does_not_reach_a_thread_that_has_its_number_now():
    def things():
        numbers.append(threading.get_ident())
        yield from range(2)

    def wait():
        try:
            while not done.wait(0.001):
                pass
        except BaseException as error:
            caught.append(error)

    numbers: list[int] = []
    done, caught = threading.Event(), []
    found = ahead(things(), 2, breaks_off=True)
    assert next(found) == 0
    for thread in threading.enumerate():
        if thread.ident == numbers[0]:
            thread.join(60)
    others = [threading.Thread(target=wait) for _ in range(20)]
    for other in others:
        other.start()
    found.close()
    time.sleep(0.05)
    done.set()
    for other in others:
        other.join()
    assert not caught

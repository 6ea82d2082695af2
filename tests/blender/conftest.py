"""The add-on is no installed package: Blender loads its folder. Tests import it from the root of the project.

A number in a test's name is that of what the add-on is held to:

1   one zip of at most 2 MB that Blender's own tool accepts, without torch, pip or a socket
2   in bpy 4.2, 4.5 and 5.0; switched on and off twenty times it leaves nothing
3   a real window: run, progress, cancel, undo, redo and an error by the add-on's own buttons
4   a render through the camera is the photo: 38 dB, 0.05 pixels
5   the vertex budget within 5 %, the estimate before a build within 10 %
6   the live and the adaptive surface are the baked one
7   depth survives save and reload bit for bit, and is enough to rebuild
8   no face over the tear ratio, none on pixels without depth, all facing the camera
9   engine tested in 10 s; its death is told in 1 s, Blender's ends it in 2 s; cancel takes 1 s (tests wait for each of
    these as long as it takes; `benchmarks/addon_client.py` times them)
10  no gap over 0.2 s while the engine works; no run state on the scene; results go where they were asked for
11  the window, `blender -b` and the tests drive the same plain class
12  every bad input and fault is one sentence, and leaves the scene as it was
13  one step of undo for each result, none for a failure
14  files are complete or absent, and where the user has them
15  a turned photo is upright
16  GLB, USD and Alembic come back with the same vertices and camera
17  20 photos with 3 bad ones give 17 results and 3 reasons; a shot loads the model once
18  offline nothing opens a socket
19  labels fit, everything has a tooltip and a unit
20  Python 3.11 to 3.14, numpy 1.26 to 2.4

Seconds above are what users are promised; tests assert what happens and in which order, and `test_window` leaves the
seconds of a real window in `out/blender-window`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest

from tests.blender.blenders import PYTHONS


@pytest.fixture(params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    """A Python with Blender as a module, each in turn."""
    return request.param

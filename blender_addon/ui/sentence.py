# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operators share: every failure is one sentence, every success says what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import bpy

from ..engine.activity import sentence_of
from ..work import current

Returned = set[Literal["RUNNING_MODAL", "CANCELLED", "FINISHED", "PASS_THROUGH", "INTERFACE"]]

if TYPE_CHECKING:
    _Base = bpy.types.Operator
else:
    _Base = object  # what many operators share is none itself


class Sentence(_Base):
    """An operator of which every failure is one sentence, in a report and in the panel."""

    def refuse(self, error: Exception) -> Returned:
        """Nothing was done, and why."""
        text = sentence_of(error)
        current.tell(text, is_error=True)
        self.report({"ERROR"}, text)
        return {"CANCELLED"}


class AtOnce(Sentence):
    """An operator that is done at once, and says what it did."""

    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Returned:
        """Do it, or say why not."""
        try:
            text = self.work(context, current.rig_in(context))
        except Exception as error:
            return self.refuse(error)
        current.tell(text)
        return {"FINISHED"}

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Do the work, on the rig of the active object if there is one. Returns the text to show."""
        raise NotImplementedError


class OnRig(AtOnce):
    """An operator on the rig of the active object."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a rig, and nobody edits."""
        found = context.mode == "OBJECT" and current.rig_in(context) is not None
        if not found:
            cls.poll_message_set("Select the rig of a photo, in Object Mode")
        return found

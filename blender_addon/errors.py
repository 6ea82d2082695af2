# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong for a reason the user can do something about."""


class UserError(Exception):
    """One sentence for the user: the value, what was expected, and what to do next."""


class EngineError(UserError):
    """The engine cannot be started, or is not there any more."""


class NoEngineError(EngineError):
    """There is no engine where one was looked for; the preferences say where."""

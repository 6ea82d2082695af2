"""The errors of the engine. Every message says what was wrong, what was expected and what to do next, in one sentence.

Catch `ProEngineError` to catch them all; anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class ProEngineError(Exception):
    """Base of all errors that a user of the engine can cause or mend."""


class FileError(ProEngineError):
    """A file cannot be read or written: missing, empty, truncated, of an unknown kind, too large, or a full disk."""


class InputError(ProEngineError):
    """An array, option or combination of options is not what the function takes."""


class ScaleUnknownError(InputError):
    """Metres were asked for but nothing gives the scale: no range, no sensor depth, no metric model."""


class WeightsError(ProEngineError):
    """Model weights are missing, corrupt, of another architecture, or cannot be fetched."""


class DeviceError(ProEngineError):
    """The device asked for is not there, or its memory does not hold even one patch."""


class DependencyError(ProEngineError):
    """An optional package is needed; the message names the extra that installs it."""


class CancelledError(ProEngineError):
    """The caller's progress callback asked to stop."""

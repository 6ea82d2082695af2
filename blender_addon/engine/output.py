# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process writes, in a file without a name. Needs the standard library only.

Reading on in a file never waits, on any system; a pipe would need a thread that empties it. The file is gone with the
last process that has it open, however that one ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid

from ..errors import EngineError

TEMPORARY = getattr(os, "O_TEMPORARY", 0)  # Windows: the file goes with its last handle; others let it lose its name
READ_BYTES = 1 << 20
MIN_FREE = 1 << 16  # bytes; less is a full disk


class ProcessOutput:
    """One stream of a process. Every call takes bounded time, however much was written.

    Attributes:
        end: for the process to write to. It shares with us the place where it writes next.
        rest: what was read after the last line that was taken.

    Raises:
        EngineError: the folder for temporary files takes none.
    """

    def __init__(self) -> None:
        try:
            path = os.path.join(tempfile.gettempdir(), f"pro-{uuid.uuid4().hex}")
            self.end = open(path, "xb", buffering=0, opener=_open)  # noqa: SIM115
            self._reader = open(path, "rb", buffering=0, opener=_open)  # noqa: SIM115
            if not TEMPORARY:
                os.unlink(path)
        except OSError as error:
            why = error.strerror or error
            raise EngineError(f"The folder for temporary files takes none ({why}); make room there.") from error
        self.rest = b""

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._reader.fileno()).st_size

    @property
    def unread(self) -> int:
        """Bytes in the file that were not read yet."""
        return self.size - self._reader.tell()

    def lines(self, limit: int) -> list[bytes]:
        """The next whole lines without their ends, `limit` at most, and from 1 MiB more of the file at most."""
        if self.rest.count(b"\n") < limit:
            self.rest += self._reader.read(READ_BYTES)
        *lines, self.rest = self.rest.split(b"\n", limit)
        return lines

    def tail(self, size: int) -> bytes:
        """The last `size` bytes of what is new; what comes before them is skipped."""
        if self.unread > size:
            self._reader.seek(-size, os.SEEK_END)
        return self._reader.read(size)

    def rewind(self) -> None:
        """Give the room on the disk back, with what was not read or is written just now."""
        self.end.truncate(0)
        for file in (self.end, self._reader):
            file.seek(0)

    def close(self) -> None:
        """Read no more. The process may write on."""
        self.end.close()
        self._reader.close()


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | TEMPORARY | (os.O_APPEND if flags & os.O_CREAT else 0), 0o600)


def full_folder() -> str:
    """The folder for temporary files if there is no room left in it, else ""."""
    folder = tempfile.gettempdir()
    return folder if shutil.disk_usage(folder).free < MIN_FREE else ""

"""Whole numbers of which only the low bits are in use."""

from __future__ import annotations

_CAMERA_BITS = (8, 10, 12, 14, 16)


def used_bits(greatest: int, bits: int) -> tuple[int, tuple[str, ...]]:
    """How many bits of whole numbers are in use, and a note where they are those of a camera in a wider word.

    Machine vision, thermal and scientific cameras write 8 to 14 bits into 16 without moving them up.

    Args:
        greatest: of the values.
        bits: of the words they are stored in.
    """
    used = next((count for count in _CAMERA_BITS if count <= bits - 2 and 0 < greatest < 1 << count), bits)
    if used == bits:
        return bits, ()
    return used, (f"Its {bits}-bit values end at {greatest}: taken as values of {used} bits.",)

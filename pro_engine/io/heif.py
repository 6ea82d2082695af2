"""The reader of HEIC files, an extra package."""

from __future__ import annotations

from pathlib import Path

from pro_engine.errors import DependencyError


def register_heif(path: Path) -> None:
    """Let Pillow read HEIC files; `path` is one that needs it.

    Raises:
        DependencyError: the extra heif is missing.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise DependencyError(
            f"{path} is a HEIC picture, which needs the extra heif; run: pip install 'pro-engine[heif]'"
        ) from error
    pillow_heif.register_heif_opener()

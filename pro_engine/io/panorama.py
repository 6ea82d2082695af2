"""Panoramas: pictures that no pinhole camera sees, as their XMP data says."""

from __future__ import annotations

import re

from PIL import Image

from pro_engine.types import Panorama

# Google's "Photo Sphere XMP Metadata" and "Spherical Video", as attributes or elements
_PROJECTION = re.compile(rb"(?:GPano|GSpherical):ProjectionType(?:\s*=\s*[\"']|>\s*)([\w-]+)", re.IGNORECASE)
_SPHERICAL = re.compile(rb"GSpherical:Spherical(?:\s*=\s*[\"']|>\s*)true|GPano:FullPanoWidthPixels", re.IGNORECASE)
_FLAT = (b"rectilinear", b"perspective", b"planar")
_AROUND = (b"equirectangular", b"spherical")
_FULL_WIDTH = re.compile(rb"GPano:FullPanoWidthPixels(?:\s*=\s*[\"']|>\s*)(\d+)")
_CROPPED_WIDTH = re.compile(rb"GPano:CroppedAreaImageWidthPixels(?:\s*=\s*[\"']|>\s*)(\d+)")
_PLACES = ("xmp", "XML:com.adobe.xmp", "comment")


def find_panorama(picture: Image.Image) -> Panorama | None:
    """What the data of a picture says of it as a panorama, or None where it does not say that it is one."""
    for place in _PLACES:
        data = picture.info.get(place)
        data = data.encode("utf-8", "replace") if isinstance(data, str) else data
        if not isinstance(data, bytes):
            continue
        found = _PROJECTION.search(data)
        if found is not None and found[1].lower() not in _FLAT:
            name = f"its XMP data calls its projection {found[1].decode('ascii', 'replace')}"
            return Panorama(name, found[1].lower() in _AROUND and _is_whole(data))
        if found is None and _SPHERICAL.search(data):
            return Panorama("its XMP data calls it spherical", _is_whole(data))
    return None


def _is_whole(data: bytes) -> bool:
    """Whether the picture goes all around: the width of what was cropped out of the whole is that of the whole."""
    full, cropped = (pattern.search(data) for pattern in (_FULL_WIDTH, _CROPPED_WIDTH))
    return full is None or cropped is None or int(full[1]) == int(cropped[1])

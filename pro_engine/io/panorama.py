"""Panoramas: pictures that no pinhole camera sees, as their XMP data says."""

from __future__ import annotations

import re

from PIL import Image

# Google's "Photo Sphere XMP Metadata" and "Spherical Video", as attributes or elements
_PROJECTION = re.compile(rb"(?:GPano|GSpherical):ProjectionType(?:\s*=\s*[\"']|>\s*)([\w-]+)", re.IGNORECASE)
_SPHERICAL = re.compile(rb"GSpherical:Spherical(?:\s*=\s*[\"']|>\s*)true|GPano:FullPanoWidthPixels", re.IGNORECASE)
_FLAT = (b"rectilinear", b"perspective", b"planar")
_PLACES = ("xmp", "XML:com.adobe.xmp", "comment")


def panorama_reason(picture: Image.Image) -> str | None:
    """Why a picture is a panorama, or None where it does not say that it is one."""
    for place in _PLACES:
        data = picture.info.get(place)
        data = data.encode("utf-8", "replace") if isinstance(data, str) else data
        if not isinstance(data, bytes):
            continue
        found = _PROJECTION.search(data)
        if found is not None and found[1].lower() not in _FLAT:
            return f"its XMP data calls its projection {found[1].decode('ascii', 'replace')}"
        if found is None and _SPHERICAL.search(data):
            return "its XMP data calls it spherical"
    return None

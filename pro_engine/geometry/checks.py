"""Checks at the door, shared by the geometry: arrays in, clean arrays out, or an `InputError` that says what to do."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics, is_finite_number

_PICTURE = "give an (H, W, 3) uint8 RGB array"


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """`values` as an array of real numbers.

    Raises:
        InputError: not an array, or one of objects, text, truth values or complex numbers.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be read as an array ({error}); give a numpy array of numbers.") from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} has dtype {array.dtype}; give real numbers, best float32.")
    return array


def as_map(values: ArrayLike, name: str) -> FloatMap:
    """`values` as float32 (H, W); no copy where it is one already.

    Raises:
        InputError: not a real (H, W) array, empty, or without a single number in it.
    """
    array = as_array(values, name)
    if array.ndim != 2:
        raise InputError(f"{name} has shape {array.shape}; give one value a pixel, shape (H, W).")
    if array.size == 0:
        raise InputError(f"{name} is empty, shape {array.shape}; give at least one pixel.")
    with np.errstate(over="ignore"):
        result: FloatMap = array.astype(np.float32, copy=False)
    if np.isnan(result).all():
        raise InputError(f"{name} is NaN everywhere; give a map that has a number in at least one pixel.")
    return result


def as_mask(values: ArrayLike | None, shape: tuple[int, ...], name: str = "valid") -> BoolMap:
    """`values` as bool of `shape`; None stands for all True.

    Raises:
        InputError: not bool, or of another shape.
    """
    if values is None:
        return np.ones(shape, dtype=np.bool_)
    array = np.asarray(values)
    if array.dtype != np.bool_:
        raise InputError(f"{name} has dtype {array.dtype}; give a bool mask, for example {name} > 0.")
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}, but the map it belongs to {shape}; give both the same size.")
    return array


def check_image(image: object, name: str = "The image", *, shape: tuple[int, ...] | None = None) -> ImageArray:
    """`image`, if it is a picture: (H, W, 3) uint8 RGB of a pixel or more, and of the (H, W) of a map if it has one.

    Raises:
        InputError: it is something else; with what to do about that.
    """
    if fault := _kind_fault(image) or _shape_fault(image) or _dtype_fault(image):  # type: ignore[arg-type]
        raise InputError(f"{name} {fault}.")
    array: ImageArray = image  # type: ignore[assignment]
    if shape is not None and array.shape[:2] != shape[:2]:
        raise InputError(f"{name} is {size_text(array.shape)} but the map {size_text(shape)}; resize one to the other.")
    return array


def _kind_fault(image: object) -> str:
    if isinstance(image, (str, os.PathLike)):
        return f"is a path ({os.fspath(image)!r}); read it first: image, _ = load_image(path)"
    return "" if isinstance(image, np.ndarray) else f"is a {type(image).__name__}; {_PICTURE}"


def _shape_fault(image: NDArray[Any]) -> str:
    shape = image.shape
    if image.ndim == 2 or (image.ndim == 3 and shape[2] == 1):
        return f"is grey, shape {shape}; {_PICTURE}, for instance np.repeat(grey, 3, axis=2)"
    if image.ndim == 4:
        return f"has shape {shape}, a batch; give one picture at a time"
    if image.ndim != 3:
        return f"has shape {shape}; {_PICTURE}"
    if shape[2] == 4:
        return f"has an alpha channel, shape {shape}; {_PICTURE}: image[..., :3]"
    if shape[2] != 3 and shape[0] == 3:
        return f"has its channels first, shape {shape}; {_PICTURE}: image.transpose(1, 2, 0)"
    if shape[2] != 3:
        return f"has {shape[2]} channels, shape {shape}; {_PICTURE}"
    return "" if image.size else f"has no pixels, shape {shape}; give at least 1 x 1"


def _dtype_fault(image: NDArray[Any]) -> str:
    if image.dtype == np.uint8:
        return ""
    hint = ""
    if image.dtype == np.uint16:
        hint = "; 16-bit values convert with (image >> 8).astype(np.uint8)"
    elif np.issubdtype(image.dtype, np.floating):
        convert = "; if its values are 0..1, convert with (image * 255).round().astype(np.uint8)"
        hint = convert if np.isfinite(image).all() else " and holds NaN or infinite values"
    return f"has dtype {image.dtype}{hint}; {_PICTURE} with values from 0 to 255"


def check_intrinsics(intrinsics: Intrinsics, shape: tuple[int, ...], what: str = "map") -> None:
    """Raises `InputError` unless `intrinsics` describe an image of the (H, W) of the map, or whatever it is."""
    if not isinstance(intrinsics, Intrinsics):
        raise InputError(
            f"intrinsics is {type(intrinsics).__name__}; give Intrinsics, for example Intrinsics.from_fov."
        )
    if (intrinsics.height, intrinsics.width) != shape[:2]:
        raise InputError(
            f"The intrinsics are of a {intrinsics.width}x{intrinsics.height} image but the {what} is "
            f"{size_text(shape)}; call intrinsics.resized({shape[1]}, {shape[0]})."
        )


def check_stride(stride: int) -> None:
    """Raises `InputError` unless `stride` is a whole number from 1."""
    if isinstance(stride, bool) or not isinstance(stride, (int, np.integer)) or stride < 1:
        raise InputError(f"stride is {stride!r}; give a whole number from 1: 1 keeps every pixel, 2 every second one.")


def check_positive(value: float, name: str, unit: str) -> None:
    """Raises `InputError` unless `value` is a finite number above 0."""
    if not is_finite_number(value) or value <= 0:
        raise InputError(f"{name} is {value!r}; give a finite number above 0 ({unit}).")


def usable_depth(depth: FloatMap) -> BoolMap:
    """Where `depth` (H, W) holds a surface: finite and above 0.

    Raises:
        InputError: nowhere.
    """
    usable: BoolMap = np.isfinite(depth)
    usable &= depth > 0
    if not usable.any():
        raise InputError(
            "The depth map has no pixel with a finite depth above 0; check its unit (metres) and its scale."
        )
    return usable


def size_text(shape: tuple[int, ...]) -> str:
    """(H, W, ...) as `WxH`, the way people name image sizes."""
    return f"{shape[1]}x{shape[0]}"

"""From a linear rendering to an 8-bit photo: air, lens, sensor and tone curve, each a little different every time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..parts.scene import Scene, SceneCamera
from .camera_view import Rendered

Array = NDArray[np.float32]

BLUR_LAYERS = 7
MAX_BLUR = 12.0
"""Largest radius of the depth-of-field blur, in pixels at 416 px width."""


def develop(rendered: Rendered, scene: Scene, camera: SceneCamera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The rendering as a camera would have stored it: uint8 sRGB (H, W, 3)."""
    rgb = np.nan_to_num(rendered.rgb, posinf=50.0).clip(0, 50).astype(np.float32)
    if scene.haze > 0:
        rgb = add_haze(rgb, rendered.depth, scene.haze, scene.haze_color)
    if camera.blur > 0:
        finite = rendered.depth[np.isfinite(rendered.depth)]
        focus = float(np.quantile(finite, rng.uniform(0.1, 0.5))) if finite.size else 1.0
        rgb = blur_by_depth(rgb, rendered.depth, focus, camera.blur * rgb.shape[1] / 416)
    rgb = _lens(rgb, rng)
    rgb = _expose(rgb, rng)
    display = _tone(rgb, rng)
    display = _sensor(display, rng)
    return (display.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def add_haze(rgb: Array, depth: Array, length: float, color: tuple[float, float, float]) -> Array:
    """Fade towards bright air with depth; at `length` metres 63 % is air. The sky fades no further than 85 %."""
    sky = np.isinf(depth)
    through = np.maximum(np.exp(-np.where(sky, 1e6, depth) / length), 0.15)[..., None]
    brightness = rgb.mean(-1)
    air = float(np.percentile(brightness[sky], 60) if sky.mean() > 0.02 else np.percentile(brightness, 75))
    return (rgb * through + (1 - through) * air * np.asarray(color, np.float32)).astype(np.float32)


def blur_by_depth(rgb: Array, depth: Array, focus: float, strength: float) -> Array:
    """Thin-lens blur in layers composed back to front; `strength` is the radius in pixels at infinity."""
    limit = MAX_BLUR * rgb.shape[1] / 416
    radius = np.clip(strength * (1 - focus / np.maximum(depth, 1e-3)), -limit, limit)  # negative: nearer than focus
    low, high = float(radius.min()), float(radius.max())
    bounds = np.linspace(low, high, BLUR_LAYERS + 1)
    layer = np.clip(np.searchsorted(bounds, radius, side="right") - 1, 0, BLUR_LAYERS - 1)
    color = np.zeros_like(rgb)
    cover = np.zeros((*rgb.shape[:2], 1), np.float32)
    for number in range(BLUR_LAYERS - 1, -1, -1):
        inside = (layer == number).astype(np.float32)[..., None]
        if not inside.any():
            continue
        kernel = _disc(abs(bounds[number] + bounds[number + 1]) / 2)
        spread = cv2.filter2D(np.concatenate([rgb * inside, inside], -1), -1, kernel, borderType=cv2.BORDER_REPLICATE)
        alpha = spread[..., 3:]
        color = color * (1 - alpha) + spread[..., :3]
        cover = cover * (1 - alpha) + alpha
    return (color / np.maximum(cover, 1e-4)).astype(np.float32)


def _disc(radius: float) -> Array:
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return disc / disc.sum()


def _lens(rgb: Array, rng: np.random.Generator) -> Array:
    """Slight softness, glare and vignette."""
    height, width = rgb.shape[:2]
    if rng.random() < 0.7:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.25, 0.6) * width / 416).astype(np.float32)
    if rng.random() < 0.4:
        small = cv2.resize(rgb, (max(8, width // 8), max(8, height // 8)), interpolation=cv2.INTER_AREA)
        glare = cv2.resize(cv2.GaussianBlur(small, (0, 0), 4), (width, height))
        rgb = rgb + glare * np.float32(rng.uniform(0.01, 0.08))
    if rng.random() < 0.5:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        rgb = rgb * (1 - rng.uniform(0.03, 0.2) * (x * x + y * y)[..., None]).astype(np.float32)
    return rgb


def _expose(rgb: Array, rng: np.random.Generator) -> Array:
    """Auto exposure: a middle between the average and the middle brightness becomes mid grey, with misjudgement."""
    brightness = rgb.mean(-1)
    key = 0.5 * float(np.exp(np.log(brightness + 1e-4).mean())) + 0.5 * float(np.median(brightness))
    target = np.exp(rng.normal(np.log(0.24), 0.3))
    bright = float(np.percentile(brightness, 90))
    gain = min(target / max(key, 1e-4), 3.0 / max(bright, 1e-4))
    balance = np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    return rgb * (np.float32(gain) * balance)


def _tone(rgb: Array, rng: np.random.Generator) -> Array:
    """Tone curve to display values: filmic, exponential or plain, with some contrast and saturation."""
    kind = rng.choice(3, p=(0.45, 0.35, 0.2))
    linear: NDArray[np.floating]
    if kind == 0:
        rgb = rgb * 0.9
        linear = (rgb * (2.51 * rgb + 0.03)) / (rgb * (2.43 * rgb + 0.59) + 0.14)
    elif kind == 1:
        linear = 1 - np.exp(-1.25 * rgb)
    else:
        linear = rgb * 0.9
    linear = np.clip(linear, 0, 1)
    display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    if rng.random() < 0.75:  # automatic levels, as most cameras have
        low, high = np.percentile(display, (1, 99))
        low, high = low * rng.uniform(0.3, 0.95), 1 - (1 - high) * rng.uniform(0.2, 0.9)
        display = np.clip((display - low) / max(high - low, 0.2), 0, 1)
    contrast = rng.uniform(0.0, 0.45)
    display = display * (1 - contrast) + contrast * display * display * (3 - 2 * display)
    grey = display.mean(-1, keepdims=True)
    return (grey + (display - grey) * rng.uniform(0.75, 1.2)).astype(np.float32)


def _sensor(display: Array, rng: np.random.Generator) -> Array:
    """Noise, a little coarser than a pixel now and then, stronger in the shadows."""
    if rng.random() < 0.4:
        return display
    height, width = display.shape[:2]
    grain = rng.standard_normal((height, width, 3), np.float32)
    if rng.random() < 0.5:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * 2.0
    strength = rng.uniform(0.002, 0.018)
    return display + grain * (strength * (1.2 - 0.7 * display))

"""Pictures to sketches: black lines on white, by Canny edges and by extended difference of Gaussians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter
from skimage.feature import canny


def image_to_gray(image: Image.Image) -> NDArray[np.float64]:
    """An RGB picture to ``(h, w)`` float64 luminance in [0, 1]."""
    return np.asarray(image.convert("L"), np.float64) / 255


def _to_image(ink: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.uint8(np.clip(1 - ink, 0, 1) * 255.0 + 0.5)).convert("RGB")


def image_to_canny(image: Image.Image, *, sigma: float = 1.2, width: int = 2) -> Image.Image:
    """Canny edges (1986), ``width`` pixels wide, slightly smoothed."""
    edges = canny(image_to_gray(image), sigma=sigma, low_threshold=0.05, high_threshold=0.12)
    if width > 1:
        edges = binary_dilation(edges, iterations=width - 1)
    return _to_image(np.clip(gaussian_filter(edges.astype(np.float64), 0.6) * 1.3, 0, 1))


def image_to_xdog(image: Image.Image, *, sigma: float = 0.9, k: float = 1.6, p: float = 18.0) -> Image.Image:
    """XDoG lines (Winnemöller et al. 2012): T(u) = 1 if u ≥ t else 1 + tanh(φ(u − t)), u = (1+p)G_σ − p G_kσ."""
    gray = image_to_gray(image)
    sharp = (1 + p) * gaussian_filter(gray, sigma) - p * gaussian_filter(gray, k * sigma)
    threshold, steepness = 0.45, 6.0
    light = np.where(sharp >= threshold, 1.0, 1 + np.tanh(steepness * (sharp - threshold)))
    return _to_image(1 - light)

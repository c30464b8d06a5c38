"""The constants of every corruption at severities 1 to 5, by kind of image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

Numbers = tuple[float, ...]
Tuples = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Profile:
    """Five entries per corruption; what they mean is said where they are used. Lengths are in pixels unless "of the side"."""

    gaussian_noise: Numbers
    """standard deviation"""
    shot_noise: Numbers
    """photons at full brightness"""
    impulse_noise: Numbers
    """share of the values"""
    defocus_blur: Tuples
    """radius of the disk, deviation of the blur of its edge"""
    glass_blur: Tuples
    """deviation of the blur, farthest move, rounds"""
    motion_blur: Tuples
    """radius, deviation"""
    zoom_blur: Tuples
    """largest zoom, step"""
    snow: Tuples
    """mean and deviation of the flakes, zoom, threshold, radius and deviation of their motion, share of the image"""
    fog: Tuples
    """strength, decay of the roughness"""
    brightness: Numbers
    """added to the value (HSV)"""
    contrast: Numbers
    """factor"""
    elastic_transform: Tuples
    """amplitude, smoothing and affine move, all of the side"""
    pixelate: Numbers
    """resolution, of the side"""
    jpeg_compression: Numbers
    """quality"""


CIFAR = Profile(
    gaussian_noise=(0.04, 0.06, 0.08, 0.09, 0.10),
    shot_noise=(500, 250, 100, 75, 50),
    impulse_noise=(0.01, 0.02, 0.03, 0.05, 0.07),
    defocus_blur=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    glass_blur=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    motion_blur=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    zoom_blur=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    snow=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    fog=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    brightness=(0.05, 0.1, 0.15, 0.2, 0.3),
    contrast=(0.75, 0.5, 0.4, 0.3, 0.15),
    elastic_transform=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    pixelate=(0.95, 0.9, 0.85, 0.75, 0.65),
    jpeg_compression=(80, 65, 58, 50, 40),
)
DIGITS = Profile(
    gaussian_noise=(0.1, 0.2, 0.3, 0.4, 0.5),
    shot_noise=(40, 20, 10, 5, 3),
    impulse_noise=(0.03, 0.06, 0.1, 0.17, 0.27),
    defocus_blur=((0.6, 0.3), (0.8, 0.4), (1, 0.4), (1.2, 0.5), (1.5, 0.6)),
    glass_blur=((0.2, 1, 1), (0.3, 1, 1), (0.4, 1, 1), (0.4, 1, 2), (0.5, 1, 2)),
    motion_blur=((2, 0.7), (2, 1), (3, 1.2), (3, 1.6), (3, 2.2)),
    zoom_blur=((1.1, 0.05), (1.2, 0.05), (1.3, 0.05), (1.4, 0.05), (1.5, 0.05)),
    snow=tuple(
        (*flakes[:4], *motion, flakes[6])
        for flakes, motion in zip(CIFAR.snow, ((2, 1), (2, 1), (2, 1), (3, 1.5), (3, 2)), strict=True)
    ),
    fog=((0.3, 3), (0.6, 3), (1, 2.5), (1.5, 2), (2.2, 1.75)),
    brightness=(0.1, 0.2, 0.3, 0.4, 0.5),
    contrast=(0.6, 0.45, 0.35, 0.25, 0.15),
    elastic_transform=((0, 0, 0.08), (0.05, 0.2, 0.08), (0.08, 0.1, 0.08), (0.1, 0.08, 0.1), (0.12, 0.08, 0.12)),
    pixelate=(0.9, 0.75, 0.65, 0.5, 0.4),
    jpeg_compression=(60, 40, 25, 15, 8),
)
MNIST = replace(
    CIFAR,
    **{
        name: getattr(DIGITS, name)
        for name in (
            "gaussian_noise", "shot_noise", "impulse_noise", "fog", "brightness", "contrast", "jpeg_compression",
        )
    },
    zoom_blur=((1.16, 0.01), (1.26, 0.01), (1.36, 0.01), (1.46, 0.01), (1.56, 0.01)),
    defocus_blur=((1, 0.3), (1.5, 0.3), (2, 0.4), (2.5, 0.4), (3, 0.5)),
    glass_blur=((0.4, 1, 1), (0.6, 1, 1), (0.7, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    motion_blur=((6, 1.5), (6, 2.5), (8, 3.5), (9, 5), (9, 7)),
    pixelate=(0.6, 0.5, 0.4, 0.3, 0.25),
)  # fmt: skip
PROFILES = MappingProxyType({"cifar": CIFAR, "digits": DIGITS, "mnist": MNIST})

"""Common corruptions of images at five severities (arXiv:1903.12261), in torch, from a seed: the fourteen that need no file.

>>> noisy = apply(torch.rand(2, 3, 32, 32), "gaussian_noise", 3, seed=0)
>>> groups()["blur"]
('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur')

The constants are those of CIFAR-10-C (`profile="cifar"`) or made for 8x8 digits and 28x28 MNIST. Every image is corrupted
by draws of its own, from a generator per draw: fewer images get the same as the first of more, and the severities of one
seed share their draws, so that they differ in severity alone. Frost blends photographs of frost, which do not come along;
CIFAR-10-C's own files are read by `load_corrupted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count, require_within
from workbench.data.preparing.corruptions import blur, digital, noise, weather
from workbench.data.preparing.corruptions.draw import Draws
from workbench.data.preparing.corruptions.profiles import PROFILES, Profile

__all__ = ["PROFILES", "Profile", "apply", "groups", "names"]

SEVERITIES = range(1, 6)
_APPLY: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian,
    "shot_noise": noise.shot,
    "impulse_noise": noise.impulse,
    "defocus_blur": blur.defocus,
    "glass_blur": blur.glass,
    "motion_blur": blur.motion,
    "zoom_blur": blur.zoom,
    "snow": weather.snow,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg,
}
_CUSTOMARY = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
_PAPER = {
    "noise": _CUSTOMARY["noise"],
    "blur": ("motion_blur", "zoom_blur", "glass_blur"),
    "weather": ("snow", "frost", "fog", "defocus_blur"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "brightness"),
}


def names() -> tuple[str, ...]:
    """The corruptions that `apply` knows."""
    return tuple(_APPLY)


def groups(grouping: Literal["customary", "paper"] = "customary", *, frost: bool = False) -> dict[str, tuple[str, ...]]:
    """Noise, blur, weather and digital: as usual, or as the bars of figure 2 of arXiv:2103.02325 group them (brightness is
    digital, defocus weather). Frost is left out unless asked for, as where published tables have it.
    """
    if grouping not in ("customary", "paper"):
        raise ValueError(f"grouping must be 'customary' or 'paper', got {grouping!r}")
    members = _CUSTOMARY if grouping == "customary" else _PAPER
    return {group: tuple(name for name in each if frost or name != "frost") for group, each in members.items()}


def apply(
    images: Float[Tensor, "*sample channel row column"],
    name: str,
    severity: int,
    *,
    profile: str = "cifar",
    seed: int = 0,
) -> Float[Tensor, "*sample channel row column"]:
    """The images under one corruption at one severity (1..5), with values in [0, 1], in their own dtype.

    images: 1 or 3 channels of at least 4x4 pixels, values in [0, 1]. profile: "cifar", "digits" or "mnist".
    Raises ValueError for values outside [0, 1] (bytes 0..255 must be divided by 255), an unknown name, severity or profile.
    """
    if name not in _APPLY:
        raise ValueError(f"name must be one of {', '.join(_APPLY)}, got {name!r}")
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    require_count("severity", severity, SEVERITIES[0], SEVERITIES[-1])
    require_count("seed", seed, 0)
    if images.dim() < 3 or images.shape[-3] not in (1, 3) or min(images.shape[-2:]) < 4:
        raise ValueError(
            f"images must be [..., channel, row, column] with 1 or 3 channels and at least 4x4 pixels, got {tuple(images.shape)}"
        )
    require_within("images", images)
    flat = images.reshape(-1, *images.shape[-3:])
    if not len(flat):
        return images
    constants = getattr(PROFILES[profile], name)[severity - 1]
    with torch.no_grad():
        corrupted = _APPLY[name](flat.to(torch.float32), constants, Draws(seed, name, flat.device))
    return corrupted.clamp(0, 1).to(images.dtype).reshape(images.shape)

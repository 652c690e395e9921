"""A random view of a label map: contrast, texture, and what a scanner does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.errors import UserError, non_negative
from mmreg_lightning.functional.intensity import normalise_intensity
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.synthesis import faults
from mmreg_lightning.synthesis.contrast import STYLES, draw_means, touching
from mmreg_lightning.synthesis.fields import smooth_field

WINDOWS = ((-160.0, 240.0), (-200.0, 300.0), (-500.0, 800.0), (-1000.0, 1000.0))
"""Hounsfield units; the first one, which registrations use by default, is as frequent as all others together."""


class Views:
    """Renders regions as an image in network input, mostly within [0, 1], not clipped.

    Args:
        styles: how often each of ``STYLES`` is drawn, relative to the others.
        merge: see ``draw_means``.
        texture: largest amplitude of the texture within a region, as a share of the contrast.
        blur: smallest and largest standard deviation of the blur, voxels.
        bias: largest standard deviation of the logarithm of the bias field (not of CT).
        thick: share of the views with thick slices; along which axis is drawn.
        thickness: of these, in voxels, smallest and largest.
        noise: largest standard deviation of the noise, as a share of the contrast.
        gamma: largest absolute logarithm of the exponent that changes the grey values (not of CT).
        invert: share of the views of random contrast that are inverted, air included.
        streaks, table, gas, metal, cut: share of the views with each; streaks are of CT alone, tables of no MR.

    Raises:
        UserError: a value is out of range, or a style is unknown.
    """

    def __init__(
        self,
        styles: Mapping[str, float] | None = None,
        merge: float = 0.4,
        texture: float = 0.12,
        blur: Sequence[float] = (0.35, 1.0),
        bias: float = 0.35,
        thick: float = 0.35,
        thickness: Sequence[float] = (1.5, 4.0),
        noise: float = 0.1,
        gamma: float = 0.4,
        invert: float = 0.15,
        streaks: float = 0.25,
        table: float = 0.3,
        gas: float = 0.2,
        metal: float = 0.04,
        cut: float = 0.2,
    ) -> None:
        self.styles = dict(styles or dict.fromkeys(STYLES, 1.0))
        unknown = [name for name in self.styles if name not in STYLES]
        if unknown or not sum(self.styles.values()) > 0 or min(self.styles.values()) < 0:
            raise UserError(f"data.views.styles={self.styles}: must be shares of {', '.join(STYLES)}, not all zero")
        shares = {"thick": thick, "invert": invert, "streaks": streaks, "table": table, "gas": gas, "metal": metal}
        shares["cut"] = cut
        amounts = {"merge": merge, "texture": texture, "bias": bias, "noise": noise, "gamma": gamma, **shares}
        for name, value in amounts.items():
            non_negative(f"data.views.{name}", value)
        for name, pair in (("blur", blur), ("thickness", thickness)):
            if len(pair) != 2 or not 0 <= pair[0] <= pair[1]:
                raise UserError(f"data.views.{name}={list(pair)}: must be two numbers, the smaller one first")
        self.amounts = amounts
        self.blur = float(blur[0]), float(blur[1])
        self.thickness = float(thickness[0]), float(thickness[1])

    def render(self, rng: np.random.Generator, regions: NDArray[np.integer], tissues: Sequence[str]) -> Tensor:
        """A view, (1, I, J, K) float32.

        Args:
            rng: draws it all.
            regions: (I, J, K), an index of ``tissues`` each.
            tissues: see ``LabelMap``.
        """
        weights = np.array(list(self.styles.values()), float)
        style = str(rng.choice(list(self.styles), p=weights / weights.sum()))
        means = draw_means(rng, style, tissues, touching(regions), self.amounts["merge"])
        air = torch.from_numpy(np.array([tissue.partition(":")[0] == "air" for tissue in tissues])[regions])
        contrast = 250.0 if style == "ct" else 1.0
        darkest = -1000.0 if style == "ct" else 0.0
        image = self._textured(rng, regions, means, contrast)
        if self._happens(rng, "gas"):
            image = faults.add_gas(rng, image, air, darkest + contrast * float(rng.uniform(0, 0.1)))
        if style != "mr" and self._happens(rng, "table"):
            image = faults.add_table(rng, image, air, 1000.0 if style == "ct" else 0.7)
        if self._happens(rng, "metal"):
            value, rays = (2500.0, float(rng.uniform(50, 300))) if style == "ct" else (0.0, 0.0)
            image = faults.add_metal(rng, image, value, rays)
        image = self._acquired(rng, style, image, contrast)
        if self._happens(rng, "cut"):
            image = faults.cut_field_of_view(rng, image, darkest)
        return self._normalised(rng, style, image)[None]

    def _happens(self, rng: np.random.Generator, name: str) -> bool:
        return bool(rng.random() < self.amounts[name])

    def _textured(
        self, rng: np.random.Generator, regions: NDArray[Any], means: NDArray[np.float32], contrast: float
    ) -> Tensor:
        shape = (regions.shape[0], regions.shape[1], regions.shape[2])
        fine, coarse = (smooth_field(rng, shape, float(rng.uniform(*bounds)))[0] for bounds in ((1, 3), (4, 12)))
        amplitude = contrast * rng.uniform(0, self.amounts["texture"])
        grain = torch.from_numpy(
            (amplitude * rng.uniform(0, 1, (2, len(means))).astype(np.float32))[:, regions]
        ).float()
        image = torch.from_numpy(means[regions]) + grain[0] * fine + grain[1] * coarse
        return gaussian_smooth(image[None, None], float(rng.uniform(*self.blur)))[0, 0]

    def _acquired(self, rng: np.random.Generator, style: str, image: Tensor, contrast: float) -> Tensor:
        shape = (image.shape[0], image.shape[1], image.shape[2])
        if style != "ct":
            image = image.clamp_min(0)
            strength = float(rng.uniform(0, self.amounts["bias"]))
            image = image * (strength * smooth_field(rng, shape, max(shape) * float(rng.uniform(0.4, 1)))[0]).exp()
        if self._happens(rng, "thick"):
            image = faults.thicken(image, int(rng.integers(3)), float(rng.uniform(*self.thickness)))
        sigma = contrast * float(rng.uniform(0, 1) ** 2 * self.amounts["noise"])
        image = faults.add_noise(rng, image, sigma, rician=style == "mr" and rng.random() < 0.7)
        if style == "ct" and self._happens(rng, "streaks"):
            image = faults.add_streaks(rng, image, contrast * float(rng.uniform(0, 0.25)))
        return image

    def _normalised(self, rng: np.random.Generator, style: str, image: Tensor) -> Tensor:
        """As the recipes of a registration do, with some play."""
        if style == "ct" and rng.random() < 0.85:
            low, high = WINDOWS[0 if rng.random() < 0.5 else int(rng.integers(1, len(WINDOWS)))]
            play = 0.1 * (high - low)
            low, high = low + float(rng.uniform(-play, play)), high + float(rng.uniform(-play, play))
            return normalise_intensity(image, {"kind": "window", "low": low, "high": high, "clip": False})
        recipe: dict[str, float | str] = {
            "kind": "percentile",
            "low": float(rng.uniform(0, 2)),
            "high": float(rng.uniform(97.5, 99.9)),
        }
        image = normalise_intensity(image, {**recipe, "clip": False})
        if style == "ct":
            return image
        exponent = float(np.exp(rng.uniform(-self.amounts["gamma"], self.amounts["gamma"])))
        image = torch.where(image > 0, image.clamp_min(1e-6) ** exponent, image)
        return 1 - image if style == "random" and self._happens(rng, "invert") else image

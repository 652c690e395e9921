"""The Python call that does what ``mmreg-register`` does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmreg_lightning.data.pair import checked_pair
from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.files import check_free, new_output_dir
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import FieldTransform, map_points
from mmreg_lightning.io.field_formats import FieldFormat
from mmreg_lightning.io.images import mask_of_labels
from mmreg_lightning.io.in_memory import Library, image_for, library_of, volume_of
from mmreg_lightning.registration.pipeline import read_model, register_data
from mmreg_lightning.registration.result import OUTPUTS, RegisteredPair, describe_run, write_outputs
from mmreg_lightning.registration.settings import resolve_settings
from mmreg_lightning.registration.solve import Stopwatch
from mmreg_lightning.solvers.protocol import Progress


@dataclass(frozen=True)
class Registered:
    """Result of ``register``.

    Attributes:
        details: everything in the package's own terms.
        library: in whose images the warped ones are given, that of the moving image (nibabel's for files).
        files: the inputs that were given as paths, by the name of their argument.
    """

    details: RegisteredPair
    library: Library
    files: Mapping[str, Path]

    @property
    def warped(self) -> Any:
        """The moving image on the fixed image's own grid, in the moving image's number type."""
        return self._image(self.details.warped, self.details.pair.moving)

    @property
    def warped_labels(self) -> Any:
        """The moving label map on the fixed image's own grid; None where there is none."""
        labels = self.details.pair.moving_labels
        return None if labels is None else self._image(self.details.warped_labels, labels)

    @property
    def displacement(self) -> Tensor:
        """(1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving, the initial affine in it."""
        return self.details.registration.displacement

    @property
    def transform(self) -> FieldTransform:
        """Maps points (N, 3), world RAS mm, of the fixed to the moving image; it has an ``inverse()``."""
        return FieldTransform(self.displacement[0], self.details.pair.fixed.grid)

    @property
    def scores(self) -> Scores:
        """Dice, folds and so on, as in metrics.json."""
        return self.details.scores

    def map_points(self, points: ArrayLike, inverse: bool = False) -> NDArray[np.float64]:
        """Where points of the fixed image lie in the moving one; with ``inverse`` the other way round.

        Args:
            points: (N, 3), world RAS mm.
            inverse: map points of the moving image.
        """
        return map_points(self.transform.inverse() if inverse else self.transform, np.asarray(points, dtype=float))

    def write(
        self, folder: str | Path, field_formats: Sequence[FieldFormat] = ("itk",), overwrite: bool = False
    ) -> Path:
        """Write the files that ``mmreg-register`` writes.

        Args:
            folder: created if need be.
            field_formats: see ``write_field``.
            overwrite: replace the results of an earlier registration there.

        Raises:
            UserError: the folder holds results, or cannot be written to.
        """
        check_free(folder, OUTPUTS, overwrite)
        with new_output_dir(folder) as out:
            # Neither the time that has passed since the registration counts, nor what was written before.
            details = dataclasses.replace(self.details, watch=Stopwatch(self.details.watch.seconds))
            write_outputs(details, out, describe_run(self.files, "mmreg_lightning.register"), field_formats)
        return out

    def _image(self, volume: Volume | None, like: Volume) -> Any:
        assert volume is not None
        fixed = self.details.pair.fixed
        return image_for(Volume(volume.data, fixed.grid, fixed.native), self.library, like.stored)


def register(
    fixed: Any,
    moving: Any,
    *,
    checkpoint: str | Path | None = None,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    fixed_labels: Any = None,
    moving_labels: Any = None,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    affine: str = "none",
    spacing: float | None = None,
    solver: str | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
    confidence: str | Path | None = None,
) -> Registered:
    """Register two images.

    Args:
        fixed, moving: paths, or 3-D images of SimpleITK, TorchIO or nibabel, in any mixture.
        checkpoint, fixed_modality, moving_modality, spacing, solver, overrides: see ``resolve_settings``.
        fixed_labels, moving_labels, fixed_mask, moving_mask: on the grids of their images, see ``PairFiles``.
        affine: ``none``, ``moments``, ``rigid``, ``similarity``, ``affine``, or a transform file of ITK or ANTs.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: called with (iterations done, iterations in all).
        confidence: file of ``mmreg-calibrate``, for ``Registered.details.confidence``.

    Raises:
        UserError: an image or option cannot be used.
    """
    settings = resolve_settings(
        checkpoint,
        fixed_modality=fixed_modality,
        moving_modality=moving_modality,
        spacing=spacing,
        solver=solver,
        overrides=overrides,
    )
    named = {
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
    }
    maps = {name: None if image is None else volume_of(image, name, labels=True) for name, image in named.items()}
    masks = [None if maps[name] is None else mask_of_labels(maps[name]) for name in ("fixed_mask", "moving_mask")]  # type: ignore[arg-type]
    pair = checked_pair(
        volume_of(fixed, "fixed"),
        volume_of(moving, "moving"),
        (maps["fixed_labels"], maps["moving_labels"]),
        (masks[0], masks[1]),
    )
    model = None if confidence is None else read_model(confidence, settings)
    details = register_data(pair, settings, affine=affine, device=device, progress=progress, confidence=model)
    given = {"fixed": fixed, "moving": moving, **named, "checkpoint": checkpoint, "confidence": confidence}
    files = {name: Path(value) for name, value in given.items() if isinstance(value, str | os.PathLike)}
    return Registered(details, library_of(moving), files)

"""Result of a registration: what Python users get, and the files that it leaves in a folder."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmreg_lightning import __version__
from mmreg_lightning.confidence.assess import Assessment
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.data.straight import straight_layout
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.files import check_free, new_output_dir, remove_outputs, sha256, write_json, write_text
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.geometry.rigid import is_rigid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import default_spacing
from mmreg_lightning.geometry.world_transforms import (
    AffineTransform,
    FieldTransform,
    map_points,
    transform_displacement,
)
from mmreg_lightning.io.field_formats import (
    AFFINE_NAMES,
    FIELD_FORMATS,
    OUTPUT_FORMATS,
    FieldFormat,
    OutputFormat,
    field_name,
    write_affine_as,
    write_field,
)
from mmreg_lightning.io.images import write_image
from mmreg_lightning.io.in_memory import Library, image_for
from mmreg_lightning.registration.report import registration_picture, write_html, write_png
from mmreg_lightning.registration.settings import Settings
from mmreg_lightning.registration.solve import Registration, Stopwatch
from mmreg_lightning.runtime import peak_memory_mb

_FIELDS = tuple(field_name(stem, kind) for stem in ("displacement", "inverse") for kind in FIELD_FORMATS)
OUTPUTS = (
    "warped.nii.gz",
    "warped_labels.nii.gz",
    *_FIELDS,
    *AFFINE_NAMES.values(),
    "jacobian.nii.gz",
    "run.yaml",
    "report.png",
    "report.html",
    "metrics.json",
)
"""All files that can come out, in the order in which they are written: where the last one lies, all others do."""
CONFIDENCE = "confidence.nii.gz"
"""Comes out besides, where a confidence was asked for."""
STRAIGHT = "fixed.nii.gz"
"""Comes out besides, where the fixed image's grid is sheared: the image on the grid of the results."""


@dataclass(frozen=True, eq=False)
class Result:
    """A registered pair.

    Attributes:
        pair: images with labels, landmarks and masks.
        settings: what it was registered with.
        registration: fields and features, tensors.
        moved: the moving image, and its labels where there are any, on the fixed image's grid.
        scores: Dice, TRE, folds and so on.
        watch: seconds so far.
        confidence: how far the registration is to be trusted, where that was asked for.
        library: in whose images ``warped`` and ``warped_labels`` are given, that of the moving image.
        inputs: paths of the inputs that were files, by the names of the parameters.
        series: DICOM series that were chosen, by ``fixed`` and ``moving``.
    """

    pair: Pair[Image]
    settings: Settings
    registration: Registration
    moved: Image
    scores: Scores
    watch: Stopwatch
    confidence: Assessment | None = None
    library: Library = "nibabel"
    inputs: Mapping[str, Path] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)

    @property
    def warped(self) -> Any:
        """The moving image on the fixed image's own grid, in the moving image's number type and library."""
        return self._image(self.moved.volume, self.pair.moving.volume)

    @property
    def warped_labels(self) -> Any:
        """The moving label map on the fixed image's own grid; None where there is none."""
        moved, labels = self.moved.labels, self.pair.moving.labels
        return None if moved is None or labels is None else self._image(moved, labels)

    @property
    def displacement(self) -> Tensor:
        """(1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving, the initial affine in it."""
        return self.registration.displacement

    @property
    def transform(self) -> FieldTransform:
        """Maps points (N, 3), world RAS mm, of the fixed to the moving image; it has an ``inverse()``.

        Outside of the fixed image it goes on with the initial affine, see ``FieldTransform``.
        """
        initial = AffineTransform(np.asarray(self.registration.initial))
        return FieldTransform(self.displacement[0], self.pair.fixed.volume.grid, initial)

    @property
    def notes(self) -> list[str]:
        """What was assumed of the files and decided on the way, one sentence each."""
        own = [*self.pair.fixed.notes, *self.pair.moving.notes, *self.settings.notes, *self.registration.notes]
        moving = self.pair.moving.volume
        if not is_rigid(moving.grid.affine):
            rigid = straight_layout(moving.native, "").description
            own.append(
                f"{moving.path or 'the moving image'}: its grid is sheared, which ITK, ANTs and Slicer cannot read, so "
                f"{field_name('inverse', 'itk')} lies on a rigid grid that covers it, {rigid}."
            )
        return list(dict.fromkeys(own))

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds, up to now: scores, seconds by stage, memory, confidence."""
        return {
            **asdict(self.scores),
            "seconds": {**self.watch.seconds, "total": self.watch.total()},
            "peak_memory_mb": peak_memory_mb(),
            **({} if self.confidence is None else self.confidence.metrics()),
        }

    def map_points(self, points: ArrayLike, inverse: bool = False) -> NDArray[np.float64]:
        """Where points of the fixed image lie in the moving one; with ``inverse`` the other way round.

        Args:
            points: (N, 3), world RAS mm.
            inverse: map points of the moving image.
        """
        return map_points(self.transform.inverse() if inverse else self.transform, np.asarray(points, dtype=float))

    def save_report(self, path: str | Path) -> None:
        """Draw the registration: a picture (.png), or a page to look around in (.html).

        Raises:
            UserError: the name has another ending.
        """
        file = Path(path)
        if file.suffix not in (".png", ".html"):
            raise UserError(f"path={file}: a report must end in .png or .html")
        picture = registration_picture(self)
        write_png(file, self, picture) if file.suffix == ".png" else write_html(file, self, picture)

    def write(
        self,
        folder: str | Path,
        field_formats: Sequence[OutputFormat] = ("itk",),
        overwrite: bool = False,
        *,
        command: str | None = "mmreg_lightning.register",
        full: bool = True,
    ) -> Path:
        """Write the files that ``OUTPUTS`` names; those of an earlier registration are removed first.

        Everything is on the fixed image's own grid and in its axis order, but for the inverse field, which is on the
        moving image's; where the fixed image's grid is sheared, on the rigid one of ``STRAIGHT``. metrics.json is
        written last.

        Args:
            folder: created if need be.
            field_formats: of the displacement, of its inverse and of the affine, besides ``itk``, which ``mmreg-apply``
                reads; see ``OUTPUT_FORMATS``.
            overwrite: replace the results of an earlier registration there.
            command: the command line, for run.yaml.
            full: False leaves out the inverse, the Jacobian map and the HTML page.

        Returns:
            The folder.

        Raises:
            UserError: the folder holds results, or cannot be written to, or a format is unknown.
        """
        formats = check_field_formats(field_formats)
        check_free(folder, OUTPUTS, overwrite)
        with new_output_dir(folder) as out:
            # Neither the time that has passed since the registration counts, nor what was written before.
            timed = dataclasses.replace(self, watch=Stopwatch(self.watch.seconds))
            # Stopped half-way, the folder must not hold a mixture of old and new files.
            remove_outputs(out, (CONFIDENCE, STRAIGHT, *OUTPUTS))
            timed._write_images(out, formats)
            if full:
                timed._write_maps(out, formats)
            run = {
                **describe_run({**self.inputs, **self.settings.files()}, command, self.series),
                "settings": self.settings.describe(default_spacing(self.pair.fixed.volume.grid)),
                "notes": self.notes,
                "initial_affine_ras_mm": np.asarray(self.registration.initial).tolist(),
            }
            write_text(out / "run.yaml", yaml.safe_dump(run, sort_keys=False, width=100))
            with timed.watch.stage("report"):
                picture = registration_picture(timed)
                write_png(out / "report.png", timed, picture)
                if full:
                    write_html(out / "report.html", timed, picture)
            write_json(out / "metrics.json", timed.metrics)
        return out

    def _write_images(self, out: Path, formats: Sequence[OutputFormat]) -> None:
        fixed, moving, found = self.pair.fixed.volume, self.pair.moving, self.registration
        with self.watch.stage("write"):
            if self.pair.fixed.straight:
                write_image(fixed, out / STRAIGHT, dtype=fixed.stored)
            write_image(self.moved.volume, out / "warped.nii.gz", like=fixed, dtype=moving.volume.stored)
            if self.moved.labels is not None and moving.labels is not None:
                moved = self.moved.labels
                moved = Volume(moved.data.clamp_min(0), moved.grid, moved.native)  # IGNORED is no label
                write_image(moved, out / "warped_labels.nii.gz", like=fixed, dtype=moving.labels.stored)
            for kind in formats:
                if kind != "lta":
                    write_field(found.displacement, fixed, moving.volume, out, "displacement", kind)
                write_affine_as(np.asarray(found.initial), fixed, moving.volume, out, kind)
            if self.confidence is not None:
                write_image(self.confidence.volume, out / CONFIDENCE, like=fixed)

    def _write_maps(self, out: Path, formats: Sequence[OutputFormat]) -> None:
        fixed, moving = self.pair.fixed.volume, self.pair.moving.volume
        with self.watch.stage("inverse"):
            for kinds, image in _fields_by_grid(moving, formats):
                inverse = transform_displacement(self.transform.inverse(), image.grid)
                for kind in kinds:
                    write_field(inverse, image, fixed, out, "inverse", kind)
        with self.watch.stage("jacobian"):
            jacobian = Volume(jacobian_determinant(self.displacement)[0], fixed.grid)
            write_image(jacobian, out / "jacobian.nii.gz", like=fixed)

    def _image(self, volume: Volume, like: Volume) -> Any:
        fixed = self.pair.fixed.volume
        return image_for(Volume(volume.data, fixed.grid, fixed.native), self.library, like.stored)


def _fields_by_grid(image: Volume, formats: Sequence[OutputFormat]) -> list[tuple[list[FieldFormat], Volume]]:
    """Formats of fields on an image's grid, and the image that gives the grid: ITK's needs a rigid one."""
    kinds = [kind for kind in formats if kind != "lta"]  # which has affines alone
    if is_rigid(image.grid.affine):
        return [(kinds, image)]
    native = straight_layout(image.native, "")
    grid = native.canonical_grid
    others: list[FieldFormat] = [kind for kind in kinds if kind != "itk"]
    rigid = Volume(torch.empty(1, *grid.shape), grid, native, image.path)
    return [(["itk"], rigid), *([(others, image)] if others else [])]


def check_field_formats(names: Sequence[str]) -> list[OutputFormat]:
    """The formats to write, ``itk`` first.

    Raises:
        UserError: there is none, or one is unknown.
    """
    unknown = [name for name in names if name not in OUTPUT_FORMATS]
    if unknown or not names:
        raise UserError(f"field_formats={' '.join(unknown)}: must be of {', '.join(OUTPUT_FORMATS)}, at least one")
    return list(dict.fromkeys(("itk", *names)))  # type: ignore[arg-type] # checked above


def describe_run(
    inputs: Mapping[str, Path], command: str | None, series: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The command, versions of the programs, and paths and checksums of the inputs, as run.yaml holds them.

    Args:
        inputs: paths, by name.
        command: the command line.
        series: the DICOM series that were chosen, by names of inputs.
    """
    chosen = series or {}
    return {
        "command": command,
        "versions": {
            "mmreg_lightning": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "inputs": {
            name: {
                "path": str(path),
                "sha256": sha256(path),
                **({"series": chosen[name]} if name in chosen else {}),
            }
            for name, path in inputs.items()
        },
    }

"""Apply saved transforms to images, label maps, points and meshes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import ensure_output_dir
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.world_transforms import AffineTransform, ChainTransform, FieldTransform, map_points
from mmreg_lightning.io.field_formats import AFFINE_NAMES, field_name
from mmreg_lightning.io.fsl import FlirtMatrix, fsl_layout
from mmreg_lightning.io.images import read_layout
from mmreg_lightning.io.nifti_fields import FslImages
from mmreg_lightning.io.point_tables import PointsFrame
from mmreg_lightning.io.points import is_point_file, read_points
from mmreg_lightning.io.transform_names import parse_transform_name
from mmreg_lightning.io.transforms import TransformFile, read_affine, read_transform
from mmreg_lightning.registration.apply_image import GOES_ON, Labels, apply_to_image


@dataclass(frozen=True)
class Applied:
    """What was done, one line, and what was assumed on the way, one sentence each."""

    done: str
    notes: tuple[str, ...]


def read_chain(
    transforms: Sequence[str],
    inverse: bool = False,
    *,
    fixed: str | Path | None = None,
    moving: str | Path | None = None,
) -> TransformFile:
    """Several transform files as one transform, in the order in which a point passes through them.

    Args:
        transforms: see ``parse_transform_name``; or folders that ``mmreg-register`` wrote.
        inverse: of the whole chain.
        fixed, moving: the images that the chain without ``inverse`` leads between, for a single transform of FSL that
            does not name them.

    Returns:
        The transform, and what was assumed when the files were read.

    Raises:
        UserError: a file cannot be used.
    """

    def images() -> tuple[NativeGrid, NativeGrid]:
        if fixed is None or moving is None or len(transforms) > 1:
            raise UserError(
                f"transform={transforms[0]}: a transform of FSL needs the images that FSL was given; write "
                "fsl:FILE,REFERENCE,INPUT for points and for each of several transforms"
            )
        return fsl_layout(fixed), fsl_layout(moving)

    links = [_link(text, images) for text in transforms]
    notes = tuple(dict.fromkeys(note for link in links for note in link.notes))
    chain = links[0].transform if len(links) == 1 else ChainTransform([link.transform for link in links])
    return TransformFile(chain.inverse() if inverse else chain, notes)


def apply_to_file(
    transform: TransformFile,
    source: str | Path,
    out: str | Path,
    *,
    reference: str | Path | None = None,
    labels: Labels | None = None,
    points_frame: PointsFrame | None = None,
    points_image: str | Path | None = None,
    series: str | None = None,
    reference_series: str | None = None,
    fill: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Applied:
    """Apply a transform to a file.

    An image is sampled once: each voxel of the reference looks where the transform takes it. A point goes where the
    transform takes it. A transform from the fixed to the moving image so brings a moving image to the fixed one, but
    fixed points to the moving image; the inverse brings moving points to the fixed image. Outside of a displacement
    field both go on with an affine, see ``FieldTransform``.

    Of a series over time every frame is sampled, one after the other, and its time between frames is kept.

    Args:
        transform: of ``read_chain``.
        source: image, or file of points (see ``read_points``).
        out: file to write; an image as NIfTI, points in the form of ``source``.
        reference: image that gives the grid of the result; for points in voxels, the image in whose voxels they are
            written.
        labels: the image is a label map: ``nearest`` voxel, or ``vote`` (see ``vote_labels``). None is an image.
        points_frame: see ``read_points``.
        points_image: image in whose voxels the points of ``source`` are.
        series, reference_series: SeriesInstanceUID, where ``source`` or ``reference`` is a folder with several DICOM
            series.
        fill: value outside of the field of view of ``source``; None is its smallest one, for label maps 0.
        overwrite: replace ``out``.
        progress: called with (frames done, frames in all) of a series over time.

    Raises:
        UserError: a file or option cannot be used.
    """
    target = Path(out)
    if target.exists() and not overwrite:
        raise UserError(f"out={target}: exists, name another file or add overwrite=True")
    if is_point_file(source):
        if Path(source).suffix.lower() != target.suffix.lower():
            raise UserError(f"out={target}: must end in {Path(source).suffix} as the input {source} does")
        if labels is not None:
            raise UserError(f"labels={labels}: {source} holds points, not a label map")
        if fill is not None:
            raise UserError(f"fill={fill:g}: {source} holds points, not an image")
        if series is not None:
            raise UserError(f"series={series}: {source} holds points, not an image")
        images = (points_image, None), (reference, reference_series)
        return _apply_to_points(transform, Path(source), target, points_frame, images)
    if points_frame is not None or points_image is not None:
        raise UserError(f"points_frame and points_image are for points, but {source} is taken for an image")
    if not target.name.endswith((".nii", ".nii.gz")):
        raise UserError(f"out={target}: the name of an image must end in .nii or .nii.gz")
    if reference is None:
        raise UserError(f"reference must name the image on whose grid {source} is wanted")
    done, notes = apply_to_image(
        transform,
        source,
        target,
        reference,
        labels=labels,
        series=series,
        reference_series=reference_series,
        fill=fill,
        progress=progress,
    )
    return Applied(done, notes)


def _apply_to_points(
    transform: TransformFile,
    source: Path,
    out: Path,
    frame: PointsFrame | None,
    images: Sequence[tuple[str | Path | None, str | None]],
) -> Applied:
    layouts = [None if path is None else read_layout(path, series) for path, series in images]
    file = read_points(source, frame, layouts[0], layouts[1])
    outside = ~transform.transform.covers(torch.from_numpy(np.ascontiguousarray(file.points)))
    notes = [*transform.notes, *file.notes, *(note for layout in layouts if layout for note in layout.notes)]
    if outside.any():
        first = int(outside.nonzero()[0])
        place = ", ".join(f"{value:.4g}" for value in file.points[first])
        notes.append(
            f"{source}: {int(outside.sum())} of {len(file.points)} points lie outside of the field of view of the "
            f"transform, the first is number {first + 1} at RAS ({place}) mm, {GOES_ON}"
        )
    ensure_output_dir(out.parent)
    file.write(map_points(transform.transform, file.points), out)
    return Applied(f"{len(file.points)} points of {source} mapped", tuple(dict.fromkeys(notes)))


def _link(text: str, images: FslImages) -> TransformFile:
    name = parse_transform_name(text)
    if not name.path.is_dir():
        # The inverse leads between the same two images, but the other way round.
        return read_transform(name, (lambda: images()[::-1]) if name.inverse else images)
    if name.kind is not None:
        raise UserError(f"transform={text}: {name.path} is a folder, whose field needs no kind before it")
    field = read_transform(name.path / field_name("displacement", "itk"))
    initial = name.path / AFFINE_NAMES["itk"]
    transform = field.transform
    if isinstance(transform, FieldTransform) and initial.is_file():
        matrix = read_affine(initial).matrix
        assert not isinstance(matrix, FlirtMatrix)
        transform = dataclasses.replace(transform, beyond=AffineTransform(matrix))
    return TransformFile(transform.inverse() if name.inverse else transform, field.notes)

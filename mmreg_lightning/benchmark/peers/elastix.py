"""elastix: affine and B-spline with Mattes mutual information (itk-elastix)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ElastixPeer:
    """The package's default parameter maps ``affine`` and ``bspline``, one after the other.

    Against its error "too many samples map outside moving image buffer" in small fields of view,
    ``RequiredRatioOfValidSamples`` is 0.05 instead of 0.25, as its manual advises.

    Settings replace entries of the ``bspline`` map, as ``FinalGridSpacingInPhysicalUnits: 32`` (mm) or
    ``Metric1Weight: 10`` (of the bending energy).
    """

    package = "itk-elastix"

    def __call__(self, fixed: Path, moving: Path, field: Path, settings: Mapping[str, Any], threads: int) -> None:
        """See ``Peer``; the number of threads is ITK's, which ``run_peer`` sets before the package is imported.

        Its own argument ``number_of_threads`` made the B-spline stage of itk-elastix 0.25.4 crash.
        """
        import itk

        target, source = (itk.imread(str(path), itk.F) for path in (fixed, moving))
        parameters = itk.ParameterObject.New()
        affine, bspline = (parameters.GetDefaultParameterMap(kind) for kind in ("affine", "bspline"))
        for stage in (affine, bspline):
            stage["RequiredRatioOfValidSamples"] = ("0.05",)
        parameters.AddParameterMap(affine)
        for key, value in settings.items():
            bspline[key] = (str(value),)
        parameters.AddParameterMap(bspline)
        _, transform = itk.elastix_registration_method(
            target, source, parameter_object=parameters, log_to_console=False
        )
        itk.imwrite(itk.transformix_deformation_field(source, transform), str(field))

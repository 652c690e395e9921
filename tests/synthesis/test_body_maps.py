"""Bodies in air."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mmreg_lightning.errors import UserError
from mmreg_lightning.synthesis.body_maps import BodyMaps, paint_body
from mmreg_lightning.synthesis.label_map import TISSUES


@pytest.mark.parametrize("seed", range(3))
def test_skin_and_fat_lie_about_everything(seed):
    regions, tissues = paint_body(np.random.default_rng(seed))
    assert tissues[0] == "air" and {name.partition(":")[0] for name in tissues} <= set(TISSUES)
    assert {"fat", "bone", "marrow"} <= set(tissues)
    body = regions > 0
    assert 0.02 < body.mean() < 0.75
    # Skin is thinner than a voxel in some, and so is fat.
    outer = np.isin(regions, [i for i, name in enumerate(tissues) if name.startswith(("soft", "fat"))])
    faces = ndimage.binary_dilation(~body, ndimage.generate_binary_structure(3, 1)) & body
    inner = (slice(1, -1),) * 3
    assert outer[inner][faces[inner]].mean() > 0.97


def test_a_marrow_lies_in_bone():
    regions, tissues = paint_body(np.random.default_rng(4))
    bones = [i for i, name in enumerate(tissues) if name in ("bone", "marrow")]
    marrow = np.isin(regions, [i for i, name in enumerate(tissues) if name == "marrow"])
    around = ndimage.binary_dilation(marrow, iterations=1) & ~marrow
    assert not marrow.any() or np.isin(regions[around], bones).mean() > 0.3


def test_kept_and_read_again(tmp_path):
    source = BodyMaps(subjects=2, extent=160.0)
    source.prepare(tmp_path)
    drawn = source.draw(np.random.default_rng(0), tmp_path)
    again = BodyMaps(subjects=2, extent=160.0).draw(np.random.default_rng(0), tmp_path)
    np.testing.assert_array_equal(drawn.regions, again.regions)
    assert drawn.tissues == again.tissues
    np.testing.assert_allclose(drawn.extent, 160.0)


@pytest.mark.parametrize("arguments", [{"subjects": 0}, {"seed": -1}, {"extent": -1.0}, {"zoom": [2, 1]}])
def test_arguments_out_of_range(arguments):
    with pytest.raises(UserError, match=r"^data.sources.bodies"):
        BodyMaps(**arguments)

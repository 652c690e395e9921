"""The phantom's tissues as label maps."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.layers import LABELS
from mmreg_lightning.phantom.render_ct import PLAIN
from mmreg_lightning.synthesis import phantom_maps
from mmreg_lightning.synthesis.label_map import TISSUES
from mmreg_lightning.synthesis.phantom_maps import CLASSES, PhantomMaps


def test_every_tissue_has_a_class():
    assert set(CLASSES) == set(PLAIN) and set(CLASSES.values()) <= set(TISSUES)


@pytest.mark.slow
def test_organs_are_as_large_as_in_a_person(tmp_path, monkeypatch):
    monkeypatch.setattr(phantom_maps, "SHAPE", (96, 80, 104))
    monkeypatch.setattr(phantom_maps, "SPACING", 4.0)
    source = PhantomMaps(subjects=2, seed=5)
    source.prepare(tmp_path)
    codes = np.load(source._file(tmp_path, 1))
    litres = {name: (codes % len(LABELS) == label).sum() * 4.0**3 / 1e6 for label, name in LABELS.items()}
    assert 0.9 < litres["liver"] < 2.2 and 0.03 < litres["spleen"] < 0.5 and 0.08 < litres["left kidney"] < 0.3
    lungs = np.isin(codes // len(LABELS), [list(CLASSES).index("lung")])
    assert (codes % len(LABELS))[lungs].tolist() == [13] * int(lungs.sum())
    drawn = source.draw(np.random.default_rng(0), tmp_path)
    assert drawn.tissues[0] == "air:air" and "blood:venous blood" in drawn.tissues
    assert int(drawn.regions.max()) == len(drawn.tissues) - 1
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")}
    source.prepare(tmp_path)
    assert len(times) == 2 and times == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")}


@pytest.mark.parametrize("arguments", [{"subjects": 0}, {"seed": -1}, {"zoom": [2, 1]}])
def test_arguments_out_of_range(arguments):
    with pytest.raises(UserError, match=r"^data.sources.phantom"):
        PhantomMaps(**arguments)

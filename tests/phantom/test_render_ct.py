"""CT in Hounsfield units."""

from __future__ import annotations

import numpy as np
import pytest
from abdomens import SUBJECTS, inside, subject
from scipy import ndimage

from mmreg_lightning.phantom.layers import LABEL_IDS
from mmreg_lightning.phantom.subject import make_subject


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_ct_is_in_hounsfield_units(index: int) -> None:
    ct, labels = subject(index).ct, subject(index).ct_labels
    assert 40 < np.median(ct[inside(labels, "liver")]) < 125
    assert 35 < np.median(ct[inside(labels, "spleen")]) < 140
    assert np.median(ct[inside(labels, "lungs")]) < -700
    assert np.median(ct[labels == LABEL_IDS["vertebral column"]]) > 150
    assert -125 < np.median(ct[labels == LABEL_IDS["subcutaneous fat"]]) < -60
    assert 30 < np.median(ct[inside(labels, "left psoas")]) < 80
    assert abs(np.median(ct[:, -3:]) + 1000) < 20
    assert ct.min() >= -1024


def test_partial_volume_lies_between_the_tissues() -> None:
    s = make_subject(3, 0, (48, 40, 48))
    edge = ndimage.binary_dilation(s.ct_labels == LABEL_IDS["lungs"]) & (s.ct_labels == LABEL_IDS["liver"])
    assert -600 < np.median(s.ct[edge]) < 40

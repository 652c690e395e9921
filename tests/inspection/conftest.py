"""The feature families of the untrained checkpoint on the phantom."""

from __future__ import annotations

import pytest

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.inspection.families import make_families
from mmreg_lightning.registration.families import family_of_checkpoint


@pytest.fixture
def dataset(phantom):
    return Learn2RegDataset.read(phantom)


@pytest.fixture
def families(trained, dataset, cache_dir):
    return make_families(family_of_checkpoint(trained), dataset, cache_dir)


@pytest.fixture
def test_pair(dataset):
    """MR and CT of subject 0005."""
    return dataset.pairs["test"][0]

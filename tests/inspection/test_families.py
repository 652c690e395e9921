"""Feature families of a study."""

from __future__ import annotations

import torch

from mmreg_lightning.data.cache import PreparedImage
from mmreg_lightning.inspection.families import label_family, warped_labels


def test_all_families_have_one_grid_and_their_own_noise_floor(families, test_pair):
    assert [family.name for family in families] == ["learned", "mind_ssc", "intensity"]
    prepared = [family.cache.image(test_pair.fixed) for family in families]
    features = [family(image, test_pair.fixed.modality) for family, image in zip(families, prepared, strict=True)]
    shape = families[0].grid(test_pair.fixed).shape
    assert {tuple(f.shape[2:]) for f in features} == {tuple(n // 2 for n in shape)}
    # Learned features and intensity see the same image.
    assert torch.equal(prepared[0].image, prepared[2].image)
    # Those of the checkpoint, of conf/features/mind_ssc.yaml, and of the checkpoint again.
    assert [family.step.alpha for family in families] == [0.1, 0.4, 0.1]
    assert families[0].step.regulariser is families[1].step.regulariser


def test_labels_and_images_are_warped_before_features_are_computed(families):
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int32)
    labels[:, 4:6] = 3
    prepared = PreparedImage(labels.float(), labels, torch.ones(1, 8, 8, 8))
    shift = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 8)
    warped = warped_labels(prepared, shift)
    assert warped.dtype == torch.int64 and warped[0, 0, :, 0, 0].tolist() == [0, 0, 3, 3, 0, 0, 0, 0]
    assert warped_labels(prepared, None)[0, 0, :, 0, 0].tolist() == [0, 0, 0, 0, 3, 3, 0, 0]
    family = label_family(families[0], [3])
    features = [family(prepared, "MR", field)[0, 0, :, 0, 0] for field in (None, shift)]
    assert [int(f.argmax()) for f in features] == [2, 1]

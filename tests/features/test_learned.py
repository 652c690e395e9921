"""Learned features: shapes, bounds, stems, precision."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.cnn import CNNFeatures
from mmreg_lightning.features.unet import UNetFeatures


def unet(**kwargs):
    return UNetFeatures(["MR", "CT"], **{"channels": 5, "widths": (6, 8, 10), **kwargs})


def cnn(**kwargs):
    return CNNFeatures(["MR", "CT"], **{"channels": 5, "width": 6, "depth": 2, **kwargs})


FAMILIES = pytest.mark.parametrize("family", [unet, cnn])


@FAMILIES
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("shape", [(16, 24, 16), (16, 20, 12)], ids=str)
def test_shape_and_stride(family, stride, shape):
    features = family(stride=stride)
    out = features(torch.rand(2, 1, *shape), "CT")
    assert out.shape == (2, 5, *(n // stride for n in shape))
    assert (features.stride, features.channels) == (stride, 5)


@FAMILIES
def test_softmax_is_a_share_of_each_class(family):
    # Smoothing with weights that sum to 1 keeps the sum of the classes.
    for smoothing in (0.0, 0.8):
        out = family(bound="softmax", smoothing=smoothing)(torch.rand(1, 1, 16, 16, 16), "MR")
        assert out.min() >= 0 and out.max() <= 1
        torch.testing.assert_close(out.sum(1), torch.ones(1, 8, 8, 8))


@FAMILIES
def test_sigmoid_is_bounded_and_independent(family):
    features = family(bound="sigmoid", smoothing=0.0)
    logits = 30 * torch.randn(1, 5, 8, 8, 8)
    out = features.activate(logits)
    assert out.min() >= 0 and out.max() <= 1
    assert (out.sum(1) - 1).abs().max() > 0.5
    # One channel's logit leaves the others alone.
    changed = logits.clone()
    changed[:, 0] = 0
    assert torch.equal(features.activate(changed)[:, 1:], out[:, 1:])


@FAMILIES
def test_modality_specific_stems_see_a_modality_each(family):
    features = family(stem="modality_specific")
    image = torch.rand(1, 1, 16, 16, 16)
    assert not torch.allclose(features(image, "MR"), features(image, "CT"))
    features(image, "MR").square().sum().backward()
    used = {name for name, p in features.stem.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert used and all(".MR." in f".{name}." for name in used)


@FAMILIES
def test_shared_stem_is_one(family):
    image = torch.rand(1, 1, 16, 16, 16)
    shared = family(stem="shared")
    assert torch.equal(shared(image, "MR"), shared(image, "CT"))
    specific = family(stem="modality_specific")

    def count(features):
        return sum(p.numel() for p in features.stem.parameters())

    assert count(specific) == 2 * count(shared)


@FAMILIES
@pytest.mark.parametrize("self_similarity", [False, True])
def test_pair_logits_are_those_of_each(family, self_similarity):
    features = family(self_similarity=self_similarity)
    fixed, moving = torch.rand(2, 2, 1, 16, 16, 16)
    f, m = features.pair_logits(fixed, moving, ("MR", "CT"))
    torch.testing.assert_close(f, features.logits(fixed, "MR"), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(m, features.logits(moving, "CT"), rtol=1e-4, atol=1e-4)


@FAMILIES
def test_self_similarity_shows_what_lies_beyond_the_window(family):
    features = family(self_similarity=True)
    image = 3 * torch.rand(1, 1, 16, 24, 16) - 1
    inside = image.clamp(0, 1)
    out = features(image, "CT")
    assert out.shape == (1, 5, 8, 12, 8)
    assert not torch.allclose(features(inside, "CT"), out)
    torch.nn.init.zeros_(features.descriptors.weight)  # the stem sees the window alone
    assert torch.equal(features(inside, "CT"), features(image, "CT"))
    # Without the stem, scale and offset of the intensities make no difference.
    torch.nn.init.normal_(features.descriptors.weight)
    torch.nn.init.zeros_(features.stem.branches["CT"][1][1].weight)
    torch.testing.assert_close(features(7 * image + 3, "CT"), features(image, "CT"), rtol=1e-3, atol=1e-4)


@FAMILIES
@pytest.mark.parametrize("self_similarity", [False, True])
def test_bfloat16_is_close(family, self_similarity):
    features = family(self_similarity=self_similarity)
    image = torch.rand(1, 1, 16, 16, 16)
    exact = features(image, "CT")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = features(image, "CT")
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert (out - exact).abs().mean() < 0.02  # features lie in [0, 1]; bfloat16 has 8 bits
    half = features.to(torch.bfloat16)(image.bfloat16(), "CT")
    assert (half - exact).abs().mean() < 0.03


@FAMILIES
def test_gradient_reaches_every_parameter(family):
    features = family(self_similarity=True)
    image = torch.rand(1, 1, 16, 16, 16)
    loss = sum((features(image, name) * torch.rand(1, 5, 8, 8, 8)).sum() for name in ("MR", "CT"))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in features.parameters())


@FAMILIES
def test_unknown_modality(family):
    with pytest.raises(UserError, match=r"'PET'.*MR, CT"):
        family()(torch.rand(1, 1, 16, 16, 16), "PET")


@FAMILIES
@pytest.mark.parametrize("wrong", [{"stride": 3}, {"bound": "relu"}, {"stem": "both"}, {"norm": "batch"}], ids=str)
def test_unknown_choice(family, wrong):
    with pytest.raises(UserError, match=f"features.{next(iter(wrong))}"):
        family(**wrong)


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_every_norm_runs(norm):
    assert torch.isfinite(cnn(norm=norm)(torch.rand(1, 1, 16, 16, 16), "CT")).all()


@FAMILIES
@pytest.mark.parametrize("shape", [(8, 8, 8), (16, 8, 24), (4, 32, 32)], ids=str)
def test_thin_images_have_features_of_their_own_size(family, shape):
    # 96 mm at 6 mm are 16 voxels: the coarsest grid of four widths would be a single one, which no norm takes.
    features = family(**({"widths": (6, 8, 8, 10)} if family is unet else {})).eval()
    image = torch.rand(2, 1, *shape)
    out = features(image, "CT")
    assert out.shape == (2, 5, *(n // 2 for n in shape)) and torch.isfinite(out).all()
    assert out.std(dim=(2, 3, 4)).min() > 0
    torch.testing.assert_close(
        features.pair_logits(image[:1], image[1:], ("CT", "MR"))[0],
        features.logits(image[:1], "CT"),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_thin_image_is_padded_by_its_border_on_both_sides():
    features = unet(widths=(6, 8, 8, 10)).eval()
    assert features.least_side == 16
    image = torch.rand(1, 1, 32, 32, 12)
    padded, inner = features._padded(image)
    assert padded.shape[2:] == (32, 32, 32)  # ten feature voxels are missing, five at each end
    assert torch.equal(padded[..., :10], image[..., :1].expand(-1, -1, -1, -1, 10))
    assert torch.equal(padded[..., -10:], image[..., -1:].expand(-1, -1, -1, -1, 10))
    assert torch.equal(features.logits(image, "CT"), features.logits(padded, "CT")[inner])
    long = torch.rand(1, 1, 32, 33, 34)
    assert features._padded(long)[0] is long


@FAMILIES
def test_only_zero_padding_shows_where_a_voxel_lies(family):
    blank = torch.zeros(1, 1, 24, 24, 24)
    spread = {
        kind: float(family(padding=kind, norm="none", bound="sigmoid")(blank, "MR").std(dim=(2, 3, 4)).max().detach())
        for kind in ("zeros", "replicate")
    }
    assert spread["replicate"] < 1e-5 < spread["zeros"]


def test_an_unknown_padding():
    with pytest.raises(UserError, match=r"^features.padding='reflect': must be"):
        unet(padding="reflect")

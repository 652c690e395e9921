"""Measures of features against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmreg_lightning.descent.regularisers import NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.inspection.capture import (
    direction_cosines,
    level_steps,
    shift_field,
    smooth_field,
    surface_bands,
)
from mmreg_lightning.inspection.distances import organ_distances, organ_moments
from mmreg_lightning.inspection.effect_size import clustered_order, effect_sizes, majority_labels
from mmreg_lightning.inspection.landscape import basin, shift_energies
from mmreg_lightning.inspection.probe import LinearProbe, balanced_accuracy, joined, recalls, sample_voxels
from mmreg_lightning.inspection.retrieval import (
    best_matches,
    organ_surface,
    sample_features,
    surface_distance,
    surface_points,
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


class TestEffectSize:
    def test_is_the_difference_of_means_in_standard_deviations(self):
        # Within: 4 and 6 (mean 5, variance 2); without: 0, 2, 0, 2 (mean 1, variance 4/3).
        features = torch.tensor([[4.0, 6.0, 0.0, 2.0, 0.0, 2.0], [1.0] * 6]).view(2, 6, 1, 1)
        labels = torch.tensor([7, 7, 0, 0, 0, 0]).view(6, 1, 1)
        table = effect_sizes(features, labels, [7, 9])
        assert table[0, 0] == pytest.approx(4 / math.sqrt((2 + 4 / 3) / 2))
        assert table[1, 0] == 0
        assert np.isnan(table[:, 1]).all()

    def test_alike_rows_lie_side_by_side(self):
        rows, columns = clustered_order(np.array([[0.0, 9], [5, 0], [0, 8], [5, 1]]))
        assert {frozenset(rows[:2]), frozenset(rows[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
        assert columns == [0, 1]

    def test_an_organ_owns_a_feature_voxel_that_it_half_fills(self):
        labels = torch.zeros(1, 4, 2, 2, dtype=torch.long)
        labels[0, 0] = 5  # half of the first feature voxel
        labels[0, 2, 0, 0] = 8  # an eighth of the second
        assert majority_labels(labels, [8, 5], 2).flatten().tolist() == [5, 0]


class TestInvariance:
    def test_is_the_distance_of_all_pairs_of_voxels(self):
        labels = torch.randint(1, 4, (6, 5, 4))
        a, b = torch.rand(3, 6, 5, 4), torch.rand(3, 6, 5, 4)
        found = organ_distances(organ_moments(a, labels, [1, 2, 3]), organ_moments(b, labels, [1, 2, 3]))
        pairs = torch.cdist(a[:, labels == 2].T.double(), b[:, labels == 2].T.double())
        assert found[2].between_modalities == pytest.approx(float(pairs.square().mean().sqrt()))

    def test_features_that_are_the_same_in_both_modalities_have_ratio_0(self):
        labels = torch.tensor([1, 1, 2, 2]).view(4, 1, 1)
        features = labels[None].float() * 3
        moments = organ_moments(features, labels, [1, 2, 9])
        found = organ_distances(moments, moments)
        assert set(found) == {1, 2}
        assert (found[1].between_modalities, found[1].between_organs, found[1].ratio) == (0, 3, 0)

    def test_features_that_know_the_modality_only_have_ratio_1(self):
        labels = torch.tensor([1, 1, 2, 2]).view(4, 1, 1)
        first, second = (organ_moments(torch.full((2, 4, 1, 1), v), labels, [1, 2]) for v in (0.0, 5.0))
        assert organ_distances(first, second)[2].ratio == pytest.approx(1)

    def test_images_add_up(self):
        labels = torch.ones(2, 1, 1, dtype=torch.long)
        parts = [torch.rand(2, 2, 1, 1) for _ in range(2)]
        total = organ_moments(parts[0], labels, [1])[1] + organ_moments(parts[1], labels, [1])[1]
        both = organ_moments(torch.cat(parts, 1), torch.ones(4, 1, 1, dtype=torch.long), [1])[1]
        assert total.count == both.count == 4
        assert total.squares == pytest.approx(both.squares) and torch.allclose(total.total, both.total)


class TestProbe:
    @staticmethod
    def image(offset: float) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(0, 3, (8, 8, 8))
        centres = torch.tensor([[0.0, 0], [4, 0], [0, 4]])
        return centres[labels].movedim(-1, 0) + offset + 0.2 * torch.randn(2, 8, 8, 8), labels

    def test_separable_features_give_1_and_shifted_ones_do_not(self):
        train, same, shifted = (sample_voxels(*self.image(o), [0, 1, 2], 50, generator()) for o in (0.0, 0.0, 4.0))
        probe = LinearProbe(joined([train, train]))
        assert balanced_accuracy(recalls(probe.predict(same.features), same.labels)) == 1
        assert balanced_accuracy(recalls(probe.predict(shifted.features), shifted.labels)) < 0.7

    def test_a_constant_channel_does_no_harm(self):
        features, labels = self.image(0.0)
        samples = sample_voxels(torch.cat([features, torch.ones(1, 8, 8, 8)]), labels, [0, 1, 2], 50, generator())
        assert balanced_accuracy(recalls(LinearProbe(samples).predict(samples.features), samples.labels)) == 1

    def test_every_label_counts_the_same(self):
        truth = torch.tensor([1] * 8 + [2] * 2)
        by_label = recalls(torch.tensor([1] * 10), truth)
        assert by_label == {1: 1, 2: 0} and balanced_accuracy(by_label) == 0.5

    def test_samples_are_those_of_the_label(self):
        features, labels = self.image(0.0)
        samples = sample_voxels(labels[None].float(), labels, [0, 2, 9], 30, generator())
        assert (samples.features[:, 0].long() == samples.labels).all()
        assert samples.labels.unique(return_counts=True)[1].tolist() == [30, 30]


class TestRetrieval:
    def test_a_known_shift_is_found_exactly(self):
        fixed = gaussian_smooth(torch.rand(1, 6, 20, 18, 16), 0.5)[0]
        moving = fixed.roll((2, -3, 1), (1, 2, 3))
        points = torch.tensor([[8, 9, 7], [10, 8, 8], [9, 10, 6]])
        found = best_matches(sample_features(fixed, points), moving, points, (2.0, 2.0, 2.0), 12)
        assert (found - points).tolist() == [[2, -3, 1]] * 3

    def test_nothing_beyond_the_radius_is_looked_at(self):
        features = torch.zeros(1, 20, 3, 3)
        features[0, 10] = 1
        features[0, 4] = 0.5
        centre = torch.tensor([[3, 1, 1]])
        descriptor = torch.ones(1, 1)
        assert best_matches(descriptor, features, centre, (2, 2, 2), 13)[0, 0] == 4
        assert best_matches(descriptor, features, centre, (2, 2, 2), 15)[0, 0] == 10

    def test_where_all_is_equal_the_nearest_is_taken(self):
        centre = torch.tensor([[3.2, 1, 1]])
        assert best_matches(torch.ones(1, 1), torch.ones(1, 9, 3, 3), centre, (2, 2, 2), 9).tolist() == [[3, 1, 1]]

    def test_features_between_voxels_are_linear(self):
        ramp = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 4, 3)
        assert sample_features(ramp, torch.tensor([[1.25, 2, 1], [4.0, 3, 2]])).flatten().tolist() == [1.25, 4]

    def test_distances_from_the_surface_of_a_slab(self):
        labels = torch.zeros(10, 4, 4, dtype=torch.long)
        labels[3:7] = 2
        assert organ_surface(labels, 2).any(axis=(1, 2)).nonzero()[0].tolist() == [3, 6]
        assert surface_distance(labels, [2], (2.0, 1, 1))[:, 0, 0].tolist() == [6, 4, 2, 0, 2, 2, 0, 2, 4, 6]
        assert np.isinf(surface_distance(labels, [5], (1, 1, 1))).all()
        points = surface_points(labels, 2, 9, generator())
        assert len(points) == 9 and set(points[:, 0].tolist()) <= {3, 6}


class TestCapture:
    def test_the_cosine_of_a_known_shift_is_1(self):
        # Three ramps: the Jacobian is the identity, so the step is parallel to the shift however long it is.
        axes = torch.meshgrid(*(torch.arange(12.0) for _ in range(3)), indexing="ij")
        moving = torch.stack(axes)[None]
        shift = torch.tensor([2.0, -1.0, 0.5])
        fixed = moving + shift.view(1, 3, 1, 1, 1)
        steps = level_steps(DescentStep(NoRegulariser()), fixed, moving, [2, 1])
        inner = torch.zeros(12, 12, 12, dtype=torch.bool)
        inner[3:9, 3:9, 3:9] = True
        for step in steps.values():
            assert direction_cosines(step, shift_field((12, 12, 12), shift.tolist()), {1: inner})[1] == pytest.approx(1)
            assert direction_cosines(-step, shift_field((12, 12, 12), shift.tolist()), {1: inner})[1] == pytest.approx(
                -1
            )

    def test_no_step_agrees_with_nothing(self):
        mask = torch.ones(2, 2, 2, dtype=torch.bool)
        assert direction_cosines(torch.zeros(1, 3, 2, 2, 2), shift_field((2, 2, 2), (1, 0, 0)), {0: mask}) == {0: 0}

    def test_levels_that_do_not_divide_the_grid(self):
        fixed, moving = torch.rand(1, 2, 7, 6, 5), torch.rand(1, 2, 7, 6, 5)
        steps = level_steps(DescentStep(NoRegulariser()), fixed, moving, [4, 1])
        assert {level: tuple(step.shape) for level, step in steps.items()} == {4: (1, 3, 7, 6, 5), 1: (1, 3, 7, 6, 5)}

    def test_a_smooth_field_has_its_length_and_does_not_fold(self):
        field = smooth_field((24, 24, 24), 2.0, 6.0, generator())
        assert float(field.norm(dim=1).mean()) == pytest.approx(2)
        assert float(jacobian_determinant(field).min()) > 0

    def test_the_band_of_a_slab(self):
        labels = torch.zeros(1, 1, 16, 4, 4, dtype=torch.long)
        labels[:, :, 6:12] = 3
        bands = surface_bands(labels, [3, 4], 2)
        assert set(bands) == {3}
        assert bands[3].any(dim=2).any(dim=1).nonzero().flatten().tolist() == [2, 3, 5, 6]


class TestLandscape:
    def test_the_energy_of_a_ramp_is_a_parabola(self):
        ramp = torch.arange(20.0).view(1, 1, 20, 1, 1).expand(1, 1, 20, 4, 4).contiguous()
        shifts = [-3.0, -1.5, 0.0, 2.0, 3.0]
        assert shift_energies(ramp, ramp, 0, shifts) == pytest.approx([9, 2.25, 0, 4, 9], abs=1e-6)
        assert shift_energies(ramp, ramp, 1, [-1.0, 0.0, 1.0]) == pytest.approx([0, 0, 0], abs=1e-6)

    def test_the_basin_ends_where_the_energy_falls_again(self):
        assert basin([-3, -2, -1, 0, 1, 2, 3], [1, 5, 4, 0, 2, 3, 4]) == (0, 2)
        assert basin([-1, 0, 1], [0, 1, 2]) == (-1, 0)

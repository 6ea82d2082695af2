"""The refiner that needs maps and image only."""

from __future__ import annotations

import pytest
import torch

from pro_engine.models.contract import RefinerInput
from pro_engine.models.outlines import snap_to_outlines
from pro_engine.models.refiner_blend import BlendRefiner
from pro_engine.models.refiner_maps import MapRefiner

CHANNELS = (8, 8, 6, 6, 4, 4)


def patches(seed: int = 0, features: tuple[torch.Tensor, ...] = ()) -> RefinerInput:
    torch.manual_seed(seed)
    image, coarse, fine = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96), torch.rand(2, 1, 64, 96)
    return RefinerInput(image, coarse, fine, features, features, torch.tensor(0.4), torch.tensor(0.2))


def refiner() -> MapRefiner:
    torch.manual_seed(1)
    return MapRefiner(CHANNELS).eval()


def test_without_a_residual_the_snapped_blend_remains():
    network, given = refiner(), patches()
    torch.nn.init.zeros_(network.head.last[2].weight)
    torch.testing.assert_close(network(given), snap_to_outlines(BlendRefiner()(given), given.image))


def test_features_are_not_looked_at():
    network = refiner()
    assert torch.equal(network(patches()), network(patches(features=(torch.rand(2, 5, 3, 3),))))


def test_scale_and_shift_of_the_maps_do_not_matter():
    """Any Ψ may come with any scale: the residual depends on normalised maps alone."""
    network, given = refiner(), patches()
    scaled = given._replace(
        coarse=given.coarse * 7 + 3, fine=given.fine * 0.01 - 5, center=given.center * 7 + 3, spread=given.spread * 7
    )
    torch.testing.assert_close(network(scaled), network(given), atol=1e-4, rtol=1e-4)


def test_picture_coarse_and_fine_map_all_count():
    network, given = refiner(), patches()
    plain = network(given)
    for name in ("image", "coarse", "fine"):
        changed = given._replace(**{name: getattr(given, name).flip(-1)})
        assert not torch.allclose(network(changed), plain), name


def test_six_widths_are_needed():
    with pytest.raises(ValueError, match="give 6 counts"):
        MapRefiner((8, 8))

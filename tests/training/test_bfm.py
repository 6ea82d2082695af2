"""Bias Free Masking, clause by clause on maps small enough to work out by hand, and its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pro_engine.errors import FileError
from pro_engine.training.bfm import (
    BfmMaps,
    BfmSettings,
    bfm_maps,
    draw_mask,
    find_edges,
    fit_to_label,
    nearest_cells,
    unreliable,
)
from pro_engine.training.bfm_cache import MaskCache
from pro_engine.training.data import list_views
from pro_engine.training.provenance import module_hash

SETTINGS = BfmSettings()
RNG = np.random.default_rng(0)


def row(*values: float) -> NDArray[np.float32]:
    return np.array([values], dtype=np.float32)


def everywhere(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(values.shape, dtype=bool)


def test_the_numbers_are_the_published_ones() -> None:
    assert (SETTINGS.consistency, SETTINGS.label_edge, SETTINGS.psi_edge) == (2.0, 1.05, 1.25)
    assert (SETTINGS.kernels, SETTINGS.kernel_side) == ((10, 20), 518)


def test_the_fit_is_least_squares_over_the_known_pixels() -> None:
    psi = RNG.random((6, 8)).astype(np.float32)
    label = 3 * psi + 2
    known = everywhere(label)
    known[0] = False
    label[0] = 1000.0
    np.testing.assert_allclose(fit_to_label(psi, label, known), 3 * psi + 2, rtol=1e-5)
    noisy = label + RNG.normal(size=label.shape).astype(np.float32)
    scale, shift = np.polyfit(psi[known], noisy[known], 1)
    np.testing.assert_allclose(fit_to_label(psi, noisy, known), scale * psi + shift, rtol=1e-4)


def test_the_fit_of_nothing_is_defined() -> None:
    np.testing.assert_allclose(fit_to_label(row(5, 5, 5), row(1, 2, 6), everywhere(row(1, 2, 3))), row(3, 3, 3))
    np.testing.assert_allclose(fit_to_label(row(1, 2), row(3, 4), np.zeros((1, 2), bool)), row(0, 0))


@pytest.mark.parametrize(
    ("fitted", "label", "contradict"),
    [
        (1.99, 1.0, False),
        (2.01, 1.0, True),
        (1.0, 1.99, False),
        (1.0, 2.01, True),
        (2.0, 1.0, False),  # exactly twice is not above the threshold
        (0.0, 1.0, True),  # no ratio: Ψ sees a surface as infinitely far
        (-1.0, 1.0, True),
        (-1.0, -1.0, True),
    ],
)
def test_surfaces_are_reliable_within_a_factor_of_two_either_way(fitted: float, label: float, contradict: bool) -> None:
    assert unreliable(row(fitted), row(label), everywhere(row(0)), SETTINGS)[0, 0] == contradict


def test_sky_is_reliable_as_long_as_the_fit_is_near_zero() -> None:
    label = row(0, 0, 0, 0, 1, 2, 3, 4)  # median 0.5, mean absolute deviation 1.25
    fitted = row(-5, 0, 0.6, 0.65, 1, 2, 3, 4)  # half a deviation is 0.625
    assert unreliable(fitted, label, everywhere(label), SETTINGS).tolist() == [
        [False, False, False, True] + [False] * 4
    ]


def test_a_real_fit_leaves_most_of_a_sky_reliable() -> None:
    label = np.repeat(np.linspace(-0.5, 1, 60, dtype=np.float32).clip(0)[:, None], 40, axis=1)  # a third is sky
    psi = 5 * label + 1 + 0.2 * RNG.normal(size=label.shape).astype(np.float32)
    found = unreliable(fit_to_label(psi, label, everywhere(label)), label, everywhere(label), SETTINGS)
    assert found[label == 0].mean() < 0.01
    wrong = psi.copy()
    wrong[:5] = psi.max()  # Ψ takes a strip of sky for a near thing
    assert unreliable(fit_to_label(wrong, label, everywhere(label)), label, everywhere(label), SETTINGS)[:5].all()


def test_what_is_not_known_is_unreliable() -> None:
    known = np.array([[True, False]])
    assert unreliable(row(1, 1), row(1, 1), known, SETTINGS).tolist() == [[False, True]]


def test_edges_mark_both_sides_of_a_larger_depth_ratio() -> None:
    assert find_edges(row(1, 1.04, 1.2, 1.2), 1.05, np.ones((1, 4), bool)).tolist() == [[False, True, True, False]]
    assert find_edges(row(1.2, 1.04), 1.05, np.ones((1, 2), bool)).all()  # falling like rising
    assert find_edges(row(1, 1.24), 1.25, np.ones((1, 2), bool)).sum() == 0
    column = row(1, 1, 2).T
    assert find_edges(column, 1.05, everywhere(column)).tolist() == [[False], [True], [True]]


def test_sky_is_an_edge_beside_a_surface_and_none_in_itself() -> None:
    assert find_edges(row(0, 0, 0.01), 1.05, np.ones((1, 3), bool)).tolist() == [[False, True, True]]
    assert find_edges(row(-3, -1, 0, 0.5), 1.25, np.ones((1, 4), bool)).tolist() == [[False, False, True, True]]


def test_pairs_with_an_unknown_pixel_are_no_edges() -> None:
    known = np.array([[True, False, True, True]])
    assert find_edges(row(1, 9, 9, 1), 1.05, known).tolist() == [[False, False, True, True]]


def blank(side: int) -> BfmMaps:
    return BfmMaps(*(np.full((side, side), value) for value in (True, False, False, False)))


def test_the_mask_is_reliable_or_common_edge_and_known() -> None:
    settings = replace(SETTINGS, kernels=(1, 1), kernel_side=4)
    maps = BfmMaps(*(np.zeros((4, 4), bool) for _ in range(4)))
    for i in range(16):  # every combination of the four facts once
        for bit, part in enumerate(maps):
            part[i // 4, i % 4] = bool(i >> bit & 1)
    expected = maps.known & (~maps.unreliable | (maps.label_edges & maps.psi_edges))
    np.testing.assert_array_equal(draw_mask(maps, settings, RNG), expected)


def kernel_sides(side: int, draws: int) -> set[int]:
    """The sides of the squares that single pixels grow to in drawn masks on a grid of `side` cells."""
    maps = blank(side)
    maps.unreliable[:] = True
    maps.label_edges[side // 2, side // 2] = True
    maps.psi_edges[:] = True
    found = set()
    for seed in range(draws):
        grown = draw_mask(maps, SETTINGS, np.random.default_rng(seed))
        found.add(int(grown.any(0).sum()))
        assert grown.sum() == grown.any(0).sum() ** 2
    return found


def test_edges_grow_by_kernels_of_10_to_20_cells_of_518_and_less_on_a_smaller_grid() -> None:
    assert kernel_sides(518, 120) == set(range(10, 21))
    assert kernel_sides(259, 60) == set(range(5, 11))


def test_both_edge_maps_must_reach_a_pixel() -> None:
    maps = blank(518)
    maps.unreliable[:] = True
    maps.label_edges[250, 100] = maps.psi_edges[250, 400] = True
    assert not draw_mask(maps, SETTINGS, RNG).any()
    maps.psi_edges[250, 112] = True  # the two squares overlap, as their sides are at least 10
    for seed in range(5):
        mask = draw_mask(maps, replace(SETTINGS, kernels=(20, 20)), np.random.default_rng(seed))
        assert 0 < mask[:, 90:125].sum() < 400


def test_the_drawing_follows_the_generator() -> None:
    maps = blank(400)
    maps.unreliable[:] = maps.psi_edges[:] = True
    maps.label_edges[200, 200] = True
    draw = [draw_mask(maps, SETTINGS, np.random.default_rng(seed)).sum() for seed in (1, 1, 2, 3, 4, 5)]
    assert draw[0] == draw[1]
    assert len(set(draw)) > 1


def test_maps_of_a_label_larger_than_psi() -> None:
    """A pane: the label has it at its own depth, Ψ sees through to the wall behind."""
    label = np.full((40, 60), 0.2, dtype=np.float32)
    label[10:30, 20:40] = 1.0
    label[4, 50] = 0.6  # one pixel: an edge although the grid's centres miss it
    psi = np.full((20, 30), 0.2, dtype=np.float32) + np.linspace(0, 0.01, 30, dtype=np.float32)
    psi[16:] = 0.9
    label[32:] = 0.9  # the floor, which both see
    valid = everywhere(label)
    valid[:, :2] = False
    maps = bfm_maps(psi, label, valid, SETTINGS)
    assert maps.unreliable[6:14, 11:19].all()
    assert not maps.unreliable[:4, 1:].any() and not maps.unreliable[17:, 1:].any()
    assert not maps.known[:, 0].any() and maps.known[:, 1:].all()
    assert maps.label_edges[2, 25]
    assert maps.label_edges[5, 10:20].all() and not maps.label_edges[8:12, 12:18].any()
    assert maps.psi_edges[15:17].all() and not maps.psi_edges[:15].any()
    mask = draw_mask(maps, replace(SETTINGS, kernels=(1, 1), kernel_side=1), RNG)
    assert mask.shape == (20, 30)


def test_cells_are_those_that_hold_the_pixels_centres() -> None:
    assert nearest_cells(0, 1, 4, 4).tolist() == [0, 1, 2, 3]
    assert nearest_cells(0, 1, 2, 8).tolist() == [2, 6]
    assert nearest_cells(0.5, 1, 4, 4).tolist() == [2, 2, 3, 3]
    assert nearest_cells(0, 1, 6, 3).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.fixture
def make(tiny: SimpleNamespace, rendered: Path, tmp_path: Path) -> Callable[..., tuple[MaskCache, int]]:
    """make(...) -> a cache whose masks are there, and how many pictures Ψ had to see for it."""
    psi = tiny.Psi().eval()

    def build(weights: float = 0.0, grid: tuple[int, int] = (64, 96), settings: BfmSettings = SETTINGS):
        with torch.no_grad():
            psi.last.bias.fill_(weights)
        cache = MaskCache(tmp_path / "masks", list_views([rendered]), module_hash(psi), grid, settings)
        steps: list[tuple[int, int]] = []
        made = cache.build(psi, range(2), lambda done, total: steps.append((done, total)))
        assert steps == [(1, 2), (2, 2)]
        return cache, made

    return build


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "masks").iterdir())


def test_masks_are_made_once(make: Callable[..., tuple[MaskCache, int]], tmp_path: Path) -> None:
    cache, made = make()
    assert made == 2
    masks = [cache.mask(i, np.random.default_rng(0)) for i in range(2)]
    assert masks[0].shape == (64, 96)
    assert 0.05 < masks[0].mean() < 1
    again, made = make()
    assert made == 0
    for i in range(2):
        np.testing.assert_array_equal(again.mask(i, np.random.default_rng(0)), masks[i])
    assert len(files(tmp_path)) == 2


def test_other_weights_settings_grids_and_pictures_get_masks_of_their_own(
    make: Callable[..., tuple[MaskCache, int]], rendered: Path, tmp_path: Path
) -> None:
    make()
    assert make(weights=0.5)[1] == 2
    assert make(settings=replace(SETTINGS, consistency=1.5))[1] == 2
    assert make(grid=(32, 64))[1] == 2
    os.utime(rendered / "v1.npz", ns=(1, 1))
    assert make()[1] == 1
    assert len(files(tmp_path)) == 9


def flip(content: bytes) -> bytes:
    return content[:400] + bytes(255 - x for x in content[400:404]) + content[404:]


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda _: b"", flip])
def test_a_damaged_file_is_named_and_made_again(
    make: Callable[..., tuple[MaskCache, int]], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache, _ = make()
    before = [cache.mask(i, np.random.default_rng(0)) for i in range(2)]
    broken = cache._files[1]
    broken.write_bytes(damage(broken.read_bytes()))
    with pytest.raises(FileError, match=f"{broken.name} are missing or damaged; give the same command again"):
        cache.mask(1, np.random.default_rng(0))
    cache, made = make()
    assert made == 1
    for i in range(2):
        np.testing.assert_array_equal(cache.mask(i, np.random.default_rng(0)), before[i])


def test_masks_of_another_size_are_made_again(make: Callable[..., tuple[MaskCache, int]]) -> None:
    cache, _ = make()
    small, _ = make(grid=(32, 32))
    cache._files[0].write_bytes(small._files[0].read_bytes())
    assert make()[1] == 1

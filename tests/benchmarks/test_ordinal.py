"""Ordinal pairs: that the file holds what it should, and that right and wrong are told apart."""

from __future__ import annotations

import numpy as np
from ordinal import read_pairs, table, wrong_pairs


def test_every_photo_has_ten_pairs_within_it():
    pairs = read_pairs()
    assert len(pairs) == 38 and all(len(of_photo) == 10 for of_photo in pairs.values())
    every = np.array(list(pairs.values()))  # (photos, 10, 4)
    assert every.shape == (38, 10, 4) and (every > 0).all() and (every < 1).all()
    assert (np.abs(every[..., :2] - every[..., 2:]).max(-1) >= 0.02).all()


def test_a_pair_is_right_where_the_first_point_is_larger():
    disparity = np.zeros((4, 8), np.float32)
    disparity[3, 7] = 1.0  # at the last pixel
    near, middle = (0.99, 0.99), (0.5, 0.5)
    assert wrong_pairs(disparity, [(*near, *middle)]) == []
    assert wrong_pairs(disparity, [(*middle, *near), (*near, *middle), (*middle, 0.1, 0.1)]) == [0, 2]


def test_the_table_counts_pairs():
    pairs = {"a": [(0.0, 0.0, 1.0, 1.0)] * 2, "b": [(0.0, 0.0, 1.0, 1.0)] * 2}
    assert table({"a": [1], "b": []}, pairs).splitlines()[2:] == [
        "| a | 1 of 2 | [1] |", "| b | 2 of 2 |  |", "| all | 3 of 4 (0.750) | |"
    ]  # fmt: skip

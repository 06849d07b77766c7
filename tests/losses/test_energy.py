"""The loss on energies by frames."""

import math

import pytest
import torch

from desmezcla.losses import FrameSdr

STEMS = ("vocals", "drums")


def test_it_is_the_ratio_in_windows() -> None:
    generator = torch.Generator().manual_seed(1)
    error, level = torch.rand(2, 1, 2, 2, 8, generator=generator)
    heard = level.sum(1)
    found = FrameSdr(window_frames=4, limit_db=20).terms(error, level, heard, STEMS)["frame_sdr"]
    wanted = []
    for stem in range(2):
        ratios = []
        for first in (0, 2, 4):
            part = slice(first, first + 4)
            e, s = (x[0, stem, :, part].sum().item() for x in (error, level))
            floor = 0.01 * heard[0, :, part].sum().item()
            ratios.append(10 * math.log10((e + floor) / (s + floor)))
        wanted.append(sum(ratios) / 3)
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_silent_estimate_has_none_and_a_perfect_one_the_limit() -> None:
    level = torch.ones(1, 1, 2, 50)
    loss = FrameSdr(limit_db=30)
    for error, ratio_db in ((level, 0.0), (0 * level, -10 * math.log10(1001))):
        found = loss.terms(error, level, level[:, 0], ("vocals",))["frame_sdr"]
        assert found.item() == pytest.approx(ratio_db, abs=1e-4)


def test_where_a_stem_is_silent_it_is_the_level_of_what_is_left() -> None:
    heard = torch.ones(1, 2, 50)
    left = torch.full((1, 1, 2, 50), 0.1)
    found = FrameSdr(limit_db=30).terms(left, 0 * left, heard, ("vocals",))["frame_sdr"]
    assert found.item() == pytest.approx(10 * math.log10(0.101 / 0.001), abs=1e-3)


def test_a_signal_shorter_than_a_window_is_one_window() -> None:
    level = torch.ones(1, 2, 1, 5)
    found = FrameSdr().terms(0.1 * level, level, level.sum(1), STEMS)["frame_sdr"]
    assert found.tolist() == pytest.approx([10 * math.log10(0.102 / 1.002)] * 2, abs=1e-4)

from typing import Any

import numpy as np
import pytest

from desmezcla.errors import ParameterError
from desmezcla.inference.engine import EngineOptions
from desmezcla.inference.ensemble import Ensemble, Member
from desmezcla.inference.sources import ArraySource
from desmezcla.inference.torch_runner import torch_engine

AUDIO = np.random.default_rng(1).standard_normal((2, 3000)).astype(np.float32)


def member(model: Any, weights: dict[str, float], **options: Any) -> Member:
    return Member(torch_engine(model, EngineOptions(**options)), weights)


def separate(ensemble: Ensemble) -> Any:
    return np.concatenate(list(ensemble.stream(ArraySource(AUDIO, 44100))), axis=-1)


def test_a_bag_weighs_each_stem_by_itself(scaled: Any) -> None:
    first = scaled((1.0, 10.0), stems=("vocals", "drums"), segment_samples=700)
    second = scaled((30.0, 3.0), stems=("drums", "vocals"), segment_samples=900)
    bag = Ensemble(
        [
            member(first, {"vocals": 1.0, "drums": 0.0}),
            member(second, {"vocals": 3.0, "drums": 1.0}),
        ],
        ("vocals", "drums"),
    )
    vocals, drums = separate(bag)
    np.testing.assert_allclose(vocals, AUDIO * (1 * 1 + 3 * 3) / 4, rtol=1e-5)
    np.testing.assert_allclose(drums, AUDIO * 30, rtol=1e-5)


def test_members_of_different_rates_come_out_at_the_rate_of_the_source(scaled: Any) -> None:
    bag = Ensemble(
        [
            member(scaled(stems=("vocals",), sample_rate=rate), {"vocals": 1.0})
            for rate in (44100, 48000)
        ],
        ("vocals",),
    )
    assert separate(bag).shape == (1, 2, 3000)


def test_shifts_are_averaged(scaled: Any) -> None:
    model = scaled(stems=("vocals",))
    plain = member(model, {"vocals": 1.0}, shifts=4, seed=3)
    np.testing.assert_allclose(separate(Ensemble([plain], ("vocals",)))[0], AUDIO, atol=1e-6)


def test_a_stem_that_nobody_makes_is_refused(scaled: Any) -> None:
    with pytest.raises(ParameterError, match="no member of the bag makes drums"):
        Ensemble(
            [member(scaled(stems=("vocals",)), {"vocals": 1.0})],
            ("vocals", "drums"),
        )


def test_a_weight_for_an_unknown_stem_is_refused(scaled: Any) -> None:
    with pytest.raises(ParameterError, match="guitar"):
        Ensemble([member(scaled(stems=("vocals",)), {"guitar": 1.0})], ("vocals",))

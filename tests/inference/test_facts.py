"""Facts of models whose facts are known."""

import pytest
from torch import Tensor, nn

from desmezcla.inference import facts
from desmezcla.models import ModelConfig, SeparationModel
from desmezcla.spec import ModelSpec

RATE = 1000


class Filters(SeparationModel[ModelConfig]):
    """One filter per stem, behind which there may be an LSTM."""

    def __init__(self, *, taps: int, lstm: bool = False) -> None:
        super().__init__(ModelConfig(stems=("a", "b"), sample_rate=RATE, channels=1))
        self.spec = ModelSpec(("a", "b"), RATE, 1, segment_samples=4 * RATE)
        self.filter = nn.Conv1d(1, 2, taps, padding=taps - 1)
        self.lstm = nn.LSTM(2, 1, bidirectional=True) if lstm else None

    def separate(self, mix: Tensor) -> Tensor:
        stems: Tensor = self.filter(mix)[..., : mix.shape[-1]]  # [B, S, T]: causal
        if self.lstm is not None:
            stems = self.lstm(stems.permute(2, 0, 1))[0].permute(1, 2, 0)
        return stems[:, :, None]


def test_a_filter_reaches_as_far_back_as_it_is_long() -> None:
    found = facts.reach(Filters(taps=500))
    # Exact to a hundredth of a segment, which is 40 samples.
    assert 499 <= found.past_samples <= 540
    assert found.future_samples == 0
    assert not found.whole_segment


def test_a_mean_over_all_reaches_over_the_whole_segment() -> None:
    class Centred(Filters):
        def separate(self, mix: Tensor) -> Tensor:
            return super().separate(mix - mix.mean(-1, keepdim=True))

    assert facts.reach(Centred(taps=3)).whole_segment


def test_operations_are_those_of_the_products() -> None:
    assert facts.parameters(Filters(taps=5)) == 2 * 5 + 2
    # Two stems times five taps, multiplied and added; the first outputs are padded.
    count = facts.operations_per_s(Filters(taps=5))
    assert count == pytest.approx(2 * 2 * 5 * RATE, rel=0.01)
    with_lstm = facts.operations_per_s(Filters(taps=5, lstm=True))
    # Per step and direction: the four gates of a cell see two inputs and the last output.
    assert with_lstm is not None
    assert count is not None
    assert with_lstm - count == pytest.approx(2 * 2 * 4 * (2 + 1) * RATE)


def test_the_lstm_is_itself_again_after_counting() -> None:
    original = nn.LSTM.forward
    facts.operations_per_s(Filters(taps=5, lstm=True))
    assert nn.LSTM.forward is original


def test_what_depends_on_the_data_is_not_counted() -> None:
    class Looking(Filters):
        def separate(self, mix: Tensor) -> Tensor:
            return super().separate(mix) * float(mix.abs().max())

    assert facts.operations_per_s(Looking(taps=5)) is None


def test_speed_is_a_positive_number() -> None:
    assert facts.times_real_time(Filters(taps=5), repeats=1) > 0

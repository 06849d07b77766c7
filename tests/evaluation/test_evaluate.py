"""`desmezcla.evaluate`: what it takes, refuses, and gives for odd input."""

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import desmezcla
from desmezcla import EvaluationError, ParameterError, evaluate
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.evaluate import score_signals
from desmezcla.evaluation.signals import ArraySignals, FileSignals, array_signals, write_signals

RATE = 2000


def song(stems: tuple[str, ...] = ("vocals", "drums", "bass"), samples: int = 3 * RATE) -> Any:
    rng = np.random.default_rng(0)
    true = {stem: rng.standard_normal((2, samples)).astype(np.float32) for stem in stems}
    mixture = sum(true.values())
    return true, {stem: 0.8 * audio + 0.1 * mixture for stem, audio in true.items()}


def test_scores_have_the_names_and_shapes_of_the_contract() -> None:
    references, estimates = song()
    scores = evaluate(references, estimates, RATE, window_s=1.0, hop_s=0.5)
    assert list(scores) == ["vocals", "drums", "bass"]
    for stem in scores:
        for metric in ("SDR", "ISR", "SIR", "SAR"):
            assert scores[stem][metric].shape == (5,)
        assert isinstance(scores[stem]["global_SDR"], float)
        assert isinstance(scores[stem]["SI-SDR"], float)
    error = references["bass"] - estimates["bass"]
    expected = 10 * np.log10(np.square(references["bass"]).sum() / np.square(error).sum())
    assert scores["bass"]["global_SDR"] == pytest.approx(expected, abs=1e-4)


def test_tensors_double_precision_and_reordered_stems_score_the_same() -> None:
    references, estimates = song()
    plain = evaluate(references, estimates, RATE)
    other = evaluate(
        {stem: torch.from_numpy(audio) for stem, audio in references.items()},
        {stem: estimates[stem].astype(np.float64) for stem in ("bass", "vocals", "drums")},
        RATE,
    )
    assert list(other) == ["bass", "vocals", "drums"]
    for stem in plain:
        np.testing.assert_allclose(other[stem]["SIR"], plain[stem]["SIR"], atol=1e-4)


def test_a_reference_without_estimate_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    references, estimates = song()
    del estimates["drums"]
    with caplog.at_level(logging.WARNING):
        scores = evaluate(references, estimates, RATE)
    assert "no estimate of it: drums" in caplog.text
    alone = evaluate({s: references[s] for s in estimates}, estimates, RATE)
    np.testing.assert_array_equal(scores["bass"]["SIR"], alone["bass"]["SIR"])


@pytest.mark.parametrize("extra", [-1500, 700])
def test_estimates_of_another_length_are_cut_or_continued_by_silence(
    extra: int, caplog: pytest.LogCaptureFixture
) -> None:
    references, estimates = song()
    length = 3 * RATE
    other = {
        stem: np.pad(audio, ((0, 0), (0, max(0, extra))), constant_values=0.3)[:, : length + extra]
        for stem, audio in estimates.items()
    }
    fitted = {
        stem: np.pad(audio[:, :length], ((0, 0), (0, max(0, -extra))))
        for stem, audio in other.items()
    }
    with caplog.at_level(logging.WARNING):
        scores = evaluate(references, other, RATE)
    assert f"have {length + extra} samples" in caplog.text
    expected = evaluate(references, fitted, RATE)
    np.testing.assert_array_equal(scores["bass"]["SDR"], expected["bass"]["SDR"])
    assert np.isnan(scores["bass"]["SDR"]).any() == (extra < -RATE)


def test_silence_is_noted_and_not_scored(caplog: pytest.LogCaptureFixture) -> None:
    references, estimates = song()
    references["drums"] = np.zeros_like(references["drums"])
    estimates["bass"] = np.zeros_like(estimates["bass"])
    with caplog.at_level(logging.WARNING):
        scores = evaluate(references, estimates, RATE)
    assert "drums: the reference is silent" in caplog.text
    assert "bass: the estimate is silent" in caplog.text
    assert np.isfinite(scores["vocals"]["SDR"]).all()
    for stem in ("drums", "bass"):
        assert np.isnan(scores[stem]["SDR"]).all()
        assert math.isnan(scores[stem]["SI-SDR"])
        assert math.isfinite(scores[stem]["global_SDR"])


@pytest.mark.parametrize("samples", [1, 5])
def test_a_track_of_a_few_samples_has_one_frame(samples: int) -> None:
    references, estimates = song(samples=samples)
    scores = evaluate(references, estimates, RATE)
    assert np.isfinite(scores["vocals"]["SDR"]).tolist() == [True]


def test_the_whole_track_is_one_frame_of_infinite_length() -> None:
    references, estimates = song()
    assert evaluate(references, estimates, RATE, window_s=math.inf)["bass"]["SDR"].shape == (1,)


def test_eight_channels_are_scored() -> None:
    rng = np.random.default_rng(0)
    true = {stem: rng.standard_normal((8, 2500)) for stem in ("a", "b")}
    config = BssEvalConfig(filter_samples=16)
    estimates = array_signals({s: 0.5 * a for s, a in true.items()}, "estimates")
    scores, notes = score_signals(array_signals(true, "references"), estimates, RATE, config)
    assert notes == ()
    assert scores["a"]["SDR"] == pytest.approx([20 * np.log10(2)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bass": np.zeros((3, 100), np.float32)}, "same channels and length"),
        ({"bass": np.zeros(100, np.float32)}, r"must be \[C, T\]"),
        ({"bass": np.zeros((2, 0), np.float32)}, "at least one sample"),
        ({"bass": np.zeros((9, 100), np.float32)}, "1 to 8 channels"),
        ({"bass": np.zeros((2, 6000), np.int16)}, "convert it to float32"),
        ({"bass": np.full((2, 6000), np.nan, np.float32)}, "NaN or infinite"),
        ({"bass": np.full((2, 6000), np.inf, np.float32)}, "NaN or infinite"),
    ],
)
def test_arrays_that_are_not_audio_are_refused(change: dict[str, Any], message: str) -> None:
    references, estimates = song()
    with pytest.raises(ParameterError, match=message):
        evaluate(references | change, estimates, RATE)
    with pytest.raises(ParameterError, match=message):
        evaluate(references, estimates | change, RATE)


def test_what_does_not_belong_together_is_refused() -> None:
    references, estimates = song()
    with pytest.raises(EvaluationError, match="guitar have no reference"):
        evaluate(references, estimates | {"guitar": estimates["bass"]}, RATE)
    with pytest.raises(EvaluationError, match=r"1 channel\(s\), the references 2"):
        evaluate(references, {stem: audio[:1] for stem, audio in estimates.items()}, RATE)
    with pytest.raises(ParameterError, match="at least one stem"):
        evaluate({}, estimates, RATE)
    with pytest.raises(ParameterError, match="sample_rate=12"):
        evaluate(references, estimates, 12)
    with pytest.raises(ParameterError, match="window_s=0"):
        evaluate(references, estimates, RATE, window_s=0)
    with pytest.raises(ParameterError, match="v4 or v3"):
        evaluate(references, estimates, RATE, version="v5")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="double precision"):
        evaluate(references, estimates, RATE, device="mps")


def test_signals_in_a_file_score_as_those_in_memory(tmp_path: Any) -> None:
    references, estimates = song()
    config = BssEvalConfig()

    def spooled(audio: dict[str, NDArray[np.float32]], name: str) -> FileSignals:
        whole = np.stack(list(audio.values()))
        blocks = (whole[..., i : i + 1000] for i in range(0, whole.shape[-1], 1000))
        return write_signals(tmp_path / name, tuple(audio), blocks)

    in_memory, _ = score_signals(
        ArraySignals(tuple(references), tuple(references.values())),
        ArraySignals(tuple(estimates), tuple(estimates.values())),
        RATE,
        config,
    )
    on_disk, _ = score_signals(spooled(references, "r"), spooled(estimates, "e"), RATE, config)
    for stem in in_memory:
        np.testing.assert_array_equal(on_disk[stem]["SAR"], in_memory[stem]["SAR"])


def test_signals_without_samples_are_refused(tmp_path: Any) -> None:
    with pytest.raises(EvaluationError, match="no samples"):
        write_signals(tmp_path / "x", ("a",), [])


def test_evaluate_is_public() -> None:
    assert desmezcla.evaluate is evaluate

"""BSS Eval against museval and mir_eval, and where these have no answer."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import museval.metrics as museval
import numpy as np
import pytest
from mir_eval import separation as mir_eval
from numpy.typing import NDArray

from desmezcla.audio.reader import read_stems
from desmezcla.errors import ParameterError
from desmezcla.evaluation.metrics import frames
from desmezcla.evaluation.metrics.bss_eval import BssEval, bss_eval
from desmezcla.evaluation.signals import ArraySignals

Audio = NDArray[np.float64]
Pair = Callable[..., tuple[Audio, Audio]]
Signals = Callable[[Audio], ArraySignals]


def all_ratios(result: BssEval) -> Audio:
    return np.stack([result.sdr, result.isr, result.sir, result.sar])


def by_museval(references: Audio, estimates: Audio, **options: Any) -> Audio:
    """Return SDR, ISR, SIR and SAR of museval: `[4, S, frames]`."""
    with np.errstate(divide="ignore"):
        ratios = museval.bss_eval(
            references.transpose(0, 2, 1), estimates.transpose(0, 2, 1), **options
        )
    return np.stack(ratios[:4])


@pytest.mark.parametrize("stems", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("window", "hop"), [(4000, 4000), (3000, 1100), (np.inf, np.inf)])
def test_noise_has_the_scores_that_museval_gives(
    signals: Signals, pair: Pair, stems: int, channels: int, window: float, hop: float
) -> None:
    references, estimates = pair(stems, channels, 13_000, seed=stems)
    options: dict[str, Any] = {"window": window, "hop": hop, "filters_len": 64}
    theirs = by_museval(references, estimates, **options)
    ours = bss_eval(
        signals(references), signals(estimates), window=window, hop=hop, filter_samples=64
    )
    if stems == 1:
        assert np.all(ours.sir == np.inf)  # museval's is rounding noise, 300 dB and more
        theirs[2] = np.inf
    np.testing.assert_allclose(all_ratios(ours), theirs, rtol=0, atol=1e-9)


def test_filters_of_512_samples_give_what_museval_gives(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(3, 2, 30_011)
    theirs = by_museval(references, estimates, window=10_000, hop=10_000)
    ours = bss_eval(signals(references), signals(estimates), window=10_000, hop=10_000)
    np.testing.assert_allclose(all_ratios(ours), theirs, rtol=0, atol=1e-9)


def test_version_3_by_frames_gives_what_museval_gives(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(3, 2, 12_000)
    options: dict[str, Any] = {"window": 4000, "hop": 2000}
    theirs = by_museval(references, estimates, filters_len=50, framewise_filters=True, **options)
    ours = bss_eval(
        signals(references),
        signals(estimates),
        filter_samples=50,
        framewise_filters=True,
        **options,
    )
    np.testing.assert_allclose(all_ratios(ours), theirs, rtol=0, atol=1e-9)


# What rounding does to museval's own scores, found by giving it the stems louder and in another
# order; where that is more than this, its problem is not well conditioned (docs/metrics.md).
WELL_CONDITIONED_DB = 1e-4


@pytest.mark.parametrize(
    ("stems", "channels", "window_s"),
    [(1, 2, 1.0), (2, 1, 2.0), (2, 2, 1.0), (3, 1, 1.5), (3, 2, np.inf), (4, 1, 1.0), (4, 2, 1.0)],
)
def test_a_song_has_the_scores_that_museval_gives(
    song: tuple[Audio, Audio], signals: Signals, stems: int, channels: int, window_s: float
) -> None:
    references, estimates = (audio[:stems] for audio in song)
    if channels == 1:
        references, estimates = (a.mean(axis=1, keepdims=True) for a in (references, estimates))
    window = window_s * 44100
    theirs = by_museval(references, estimates, window=window, hop=window)
    order = np.roll(np.arange(stems), 1)
    louder = 1.7 * references[order], 1.7 * estimates[order]
    again = by_museval(*louder, window=window, hop=window)
    again = again[:, np.argsort(order)]
    ours = all_ratios(bss_eval(signals(references), signals(estimates), window=window, hop=window))
    if stems == 1:
        assert np.all(ours[2] == np.inf)
        ours, theirs, again = (np.delete(x, 2, axis=0) for x in (ours, theirs, again))
    # By metric: single frames agree with themselves by luck.
    unsteady_db = np.abs(theirs - again).max(axis=(1, 2))
    steady = unsteady_db < WELL_CONDITIONED_DB
    assert steady.all() == ((stems, channels) != (4, 2))
    assert steady[:2].all()  # SDR and ISR always are
    error_db = np.abs(ours - theirs).max(axis=(1, 2))
    assert (error_db <= np.where(steady, 1e-3, 3 * unsteady_db)).all()


def test_the_order_of_the_stems_does_not_matter(
    song: tuple[Audio, Audio], signals: Signals
) -> None:
    # It moves museval's SIR of this song by 0.01 dB: rounding, with a condition of 10^15.
    references, estimates = song
    order = [2, 0, 3, 1]
    once = bss_eval(signals(references), signals(estimates), window=44100, hop=44100)
    again = bss_eval(signals(references[order]), signals(estimates[order]), window=44100, hop=44100)
    np.testing.assert_allclose(all_ratios(again), all_ratios(once)[:, order], rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def song() -> tuple[Audio, Audio]:
    """Return stems of a song from a lossy file, and what leaky estimates of them may look like."""
    # Importing stempeg needs an ffmpeg program; its file is enough.
    spec = importlib.util.find_spec("stempeg")
    assert spec is not None
    assert spec.origin is not None
    (path,) = (Path(spec.origin).parent / "data").glob("*.stem.mp4")
    streams, _ = read_stems(path)
    references = streams[1:].astype(np.float64)
    mixture = references.sum(axis=0)
    rng = np.random.default_rng(1)
    noise = 1e-3 * rng.standard_normal(references.shape)
    return references, 0.7 * references + 0.1 * mixture + noise


@pytest.mark.parametrize("stems", [1, 2, 4])
def test_version_3_sources_are_those_of_mir_eval(signals: Signals, pair: Pair, stems: int) -> None:
    references, estimates = pair(stems, 1, 9000, seed=5)
    shuffled = estimates[::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        sdr, sir, sar, order = mir_eval.bss_eval_sources(references[:, 0], shuffled[:, 0])
    ours = bss_eval(
        signals(references),
        signals(shuffled),
        window=np.inf,
        hop=np.inf,
        framewise_filters=True,
        sources=True,
        permute=True,
    )
    assert ours.permutation[:, 0].tolist() == order.tolist() == list(range(stems))[::-1]
    np.testing.assert_allclose(ours.sdr[:, 0], sdr, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.sar[:, 0], sar, rtol=0, atol=1e-6)
    if stems > 1:
        np.testing.assert_allclose(ours.sir[:, 0], sir, rtol=0, atol=1e-6)
    assert np.isnan(ours.isr).all()


def test_version_3_images_are_those_of_mir_eval(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(3, 2, 9000, seed=6)
    shuffled = estimates[[2, 0, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = mir_eval.bss_eval_images(
            references.transpose(0, 2, 1), shuffled.transpose(0, 2, 1)
        )
    ours = bss_eval(
        signals(references),
        signals(shuffled),
        window=np.inf,
        hop=np.inf,
        framewise_filters=True,
        permute=True,
    )
    assert ours.permutation[:, 0].tolist() == theirs[4].tolist() == [1, 2, 0]
    np.testing.assert_allclose(all_ratios(ours)[..., 0], np.stack(theirs[:4]), rtol=0, atol=1e-6)


def test_each_frame_has_its_own_order_with_framewise_filters(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(2, 1, 8000)
    swapped = np.concatenate([estimates[..., :4000], estimates[::-1, :, 4000:]], axis=-1)
    options: dict[str, Any] = {"window": 4000, "hop": 4000, "permute": True, "filter_samples": 20}
    framewise = bss_eval(signals(references), signals(swapped), framewise_filters=True, **options)
    assert framewise.permutation.tolist() == [[0, 1], [1, 0]]
    whole = bss_eval(signals(references), signals(swapped), **options)
    assert np.ptp(whole.permutation, axis=1).tolist() == [0, 0]


def test_opposite_channels_are_not_taken_for_silence(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(2, 1, 8000)
    wide = np.concatenate([references, -references], axis=1)
    wide_estimates = np.concatenate([estimates, -estimates * 0.9], axis=1)
    with pytest.raises(ValueError, match="non-silent"):
        by_museval(wide, wide_estimates)
    ratios = bss_eval(
        signals(wide), signals(wide_estimates), window=4000, hop=4000, filter_samples=20
    )
    assert np.isfinite(all_ratios(ratios)).all()


def test_two_channels_that_are_the_same_score_as_one(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(2, 1, 8000)
    options: dict[str, Any] = {"window": 4000, "hop": 4000, "filter_samples": 20}
    once = bss_eval(signals(references), signals(estimates), **options)
    twice = bss_eval(
        signals(references.repeat(2, axis=1)), signals(estimates.repeat(2, axis=1)), **options
    )
    np.testing.assert_allclose(all_ratios(twice), all_ratios(once), rtol=0, atol=1e-4)


def test_a_frame_with_a_silent_stem_is_not_scored_as_in_museval(
    signals: Signals, pair: Pair
) -> None:
    references, estimates = pair(2, 2, 12_000)
    references[0, :, 4000:8000] = 0
    estimates[1, :, 8000:] = 0
    options: dict[str, Any] = {"window": 4000, "hop": 4000}
    theirs = by_museval(references, estimates, filters_len=20, **options)
    ours = bss_eval(signals(references), signals(estimates), filter_samples=20, **options)
    assert np.isnan(theirs).any(axis=(0, 1)).tolist() == [False, True, True]
    np.testing.assert_allclose(all_ratios(ours), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("silent", ["reference", "estimate"])
def test_a_stem_that_is_always_silent_is_left_out_and_the_rest_is_scored(
    signals: Signals, pair: Pair, silent: str
) -> None:
    references, estimates = pair(3, 2, 8000)
    (references if silent == "reference" else estimates)[1] = 0
    options: dict[str, Any] = {"window": 4000, "hop": 4000, "filter_samples": 20}
    ratios = all_ratios(bss_eval(signals(references), signals(estimates), **options))
    assert np.isnan(ratios[:, 1]).all()
    if silent == "reference":
        # The others are scored as if the stem did not exist.
        rest = [0, 2]
        without = bss_eval(signals(references[rest]), signals(estimates[rest]), **options)
        np.testing.assert_allclose(ratios[:, rest], all_ratios(without), rtol=0, atol=1e-9)
    else:
        assert np.isfinite(ratios[:, [0, 2]]).all()


def test_all_silent_gives_no_scores(signals: Signals) -> None:
    silence = signals(np.zeros((2, 2, 5000)))
    assert np.isnan(all_ratios(bss_eval(silence, silence, window=1000, hop=1000))).all()


@pytest.mark.parametrize("samples", [1, 2, 100, 1023])
def test_tracks_shorter_than_a_frame_or_a_filter_are_one_frame(
    signals: Signals, pair: Pair, samples: int
) -> None:
    references, estimates = pair(2, 2, samples)
    ratios = bss_eval(signals(references), signals(estimates), window=44100, hop=44100)
    assert ratios.sdr.shape == (2, 1)
    expected = 10 * np.log10(
        np.square(references).sum((1, 2)) / np.square(references - estimates).sum((1, 2))
    )
    np.testing.assert_allclose(ratios.sdr[:, 0], expected, rtol=0, atol=1e-9)


def test_a_perfect_estimate_has_no_distortion(signals: Signals, pair: Pair) -> None:
    references, _ = pair(2, 2, 8000)
    perfect = signals(references)
    ratios = bss_eval(perfect, perfect, window=4000, hop=4000, filter_samples=20)
    assert np.all(ratios.sdr == np.inf)
    assert min(ratios.isr.min(), ratios.sir.min(), ratios.sar.min()) > 140


def test_what_does_not_fit_is_refused(signals: Signals, pair: Pair) -> None:
    references, estimates = (signals(audio) for audio in pair(2, 2, 1000))
    for others in (pair(3, 2, 1000), pair(2, 1, 1000), pair(2, 2, 999)):
        with pytest.raises(ParameterError, match="they must be the same"):
            bss_eval(references, signals(others[1]), window=500, hop=500)
    for window, hop in ((0, 1), (1, 0), (np.nan, 1), (-5, 5)):
        with pytest.raises(ParameterError, match="at least 1 sample"):
            bss_eval(references, estimates, window=window, hop=hop)


def test_nothing_that_was_given_is_changed(signals: Signals, pair: Pair) -> None:
    references, estimates = pair(2, 2, 3000)
    kept = references.copy(), estimates.copy()
    bss_eval(signals(references), signals(estimates), window=1000, hop=500, filter_samples=8)
    assert np.array_equal(references, kept[0])
    assert np.array_equal(estimates, kept[1])


def test_correlations_that_do_not_fit_in_memory_are_computed_again(
    signals: Signals, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    references, estimates = (signals(audio) for audio in pair(2, 2, 9000))
    options: dict[str, Any] = {"window": 2000, "hop": 2000, "filter_samples": 30}
    kept = bss_eval(references, estimates, **options)
    monkeypatch.setattr(frames, "_KEPT_BYTES", 0)
    np.testing.assert_array_equal(
        all_ratios(bss_eval(references, estimates, **options)), all_ratios(kept)
    )

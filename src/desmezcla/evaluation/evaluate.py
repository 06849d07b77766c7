"""`evaluate`: the scores of estimates of a track's stems, all that the field prints."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.config import BssEvalConfig, Version
from desmezcla.evaluation.metrics.bss_eval import bss_eval
from desmezcla.evaluation.metrics.sdr import track_ratios
from desmezcla.evaluation.scores import Scores
from desmezcla.evaluation.signals import ChosenSignals, FittedSignals, Signals, array_signals

_log = logging.getLogger(__name__)


def evaluate(
    references: Mapping[str, Any],
    estimates: Mapping[str, Any],
    sample_rate: int,
    *,
    window_s: float = 1.0,
    hop_s: float = 1.0,
    version: Version = "v4",
    device: str = "auto",
) -> Scores:
    """Score estimates of a track's stems against the true stems.

    The stems that have an estimate are scored, against each other: a reference without one is left
    out, as museval does. Estimates that are longer than the references are cut, shorter ones are
    followed by silence. What is silent gets NaN; see docs/metrics.md for all such cases.

    Args:
        references: The true stems by name, numpy or torch.
        estimates: The estimates by name.
        sample_rate: In Hz.
        window_s: Length of a frame; infinity for the whole track.
        hop_s: From one frame to the next.
        version: "v4" or "v3" of BSS Eval (images).
        device: Where to compute, in double precision: "auto", "cpu" or "cuda".

    Returns:
        For each stem, in the order of the estimates, "SDR", "ISR", "SIR" and "SAR" in dB by frame,
        and "global_SDR" and "SI-SDR" in dB of the track.

    Shape:
        references, estimates: `[C, T]` each, C from 1 to 8; returns arrays `[frames]`.

    Errors:
        ParameterError: if an array, the rate or an option is not allowed.
        EvaluationError: if an estimate has no reference, or other channels than it.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> true = {"vocals": rng.normal(size=(2, 44100)), "drums": rng.normal(size=(2, 44100))}
    >>> mixture = true["vocals"] + true["drums"]
    >>> scores = evaluate(true, {"vocals": mixture, "drums": mixture}, 44100)
    >>> abs(scores["vocals"]["SDR"].round(1)), scores["vocals"]["SAR"][0] > 100
    (array([0.]), np.True_)
    """
    config = BssEvalConfig(window_s, hop_s, version)
    true = array_signals(references, "references")
    estimated = array_signals(estimates, "estimates")
    scores, notes = score_signals(true, estimated, sample_rate, config, device=device)
    for note in notes:
        _log.warning("%s", note)
    return scores


def score_signals(
    references: Signals,
    estimates: Signals,
    sample_rate: int,
    config: BssEvalConfig,
    *,
    device: str = "auto",
) -> tuple[Scores, tuple[str, ...]]:
    """Score estimates that are read part by part; see `evaluate`.

    Memory does not grow with the track, but with the square of the channels of all stems times
    the length of the filters: 0.5 GB for four stereo stems.

    Args:
        references: The true stems.
        estimates: The estimates, of any length.
        sample_rate: In Hz.
        config: Settings of BSS Eval.
        device: "auto", "cpu" or "cuda".

    Returns:
        The scores, and what is to be known of them, one sentence each.

    Errors:
        ParameterError: if the rate is not allowed, or the device is not there.
        EvaluationError: if an estimate has no reference, or other channels than it.
    """
    if not 1000 <= sample_rate <= 768_000:
        raise ParameterError(f"sample_rate={sample_rate} Hz must be from 1000 to 768000")
    stems = estimates.stems
    true, notes = _chosen(references, stems)
    if estimates.channels != true.channels:
        raise EvaluationError(
            f"the estimates have {estimates.channels} channel(s), the references {true.channels}; "
            "convert one to the channels of the other"
        )
    length = true.length_samples
    if estimates.length_samples != length:
        notes.append(
            f"the estimates have {estimates.length_samples} samples and were "
            f"{'cut' if estimates.length_samples > length else 'followed by silence'} "
            f"to the {length} of the references"
        )
    fitted = FittedSignals(estimates, length)
    ratios = track_ratios(true, fitted)
    for silent, what in (
        (ratios.silent_references, "reference"),
        (ratios.silent_estimates, "estimate"),
    ):
        notes += [
            f"{stem}: the {what} is silent, so that its scores are not defined"
            for stem, is_silent in zip(stems, silent, strict=True)
            if is_silent
        ]
    result = bss_eval(
        true,
        fitted,
        # Whole samples, rounded down, as museval counts them.
        window=np.floor(config.window_s * sample_rate),
        hop=np.floor(config.hop_s * sample_rate),
        filter_samples=config.filter_samples,
        framewise_filters=config.version == "v3",
        device=_device(device),
    )
    scores: Scores = {
        stem: {
            "SDR": result.sdr[index],
            "ISR": result.isr[index],
            "SIR": result.sir[index],
            "SAR": result.sar[index],
            "global_SDR": float(ratios.global_sdr[index]),
            "SI-SDR": float(ratios.si_sdr[index]),
        }
        for index, stem in enumerate(stems)
    }
    return scores, tuple(notes)


def _chosen(references: Signals, stems: tuple[str, ...]) -> tuple[Signals, list[str]]:
    """Return the references of the stems that were estimated, and a note of those left out."""
    unknown = [stem for stem in stems if stem not in references.stems]
    if unknown:
        raise EvaluationError(
            f"the estimate(s) {', '.join(unknown)} have no reference, there are references of "
            f"{', '.join(references.stems)}; rename or remove the estimates"
        )
    left_out = [stem for stem in references.stems if stem not in stems]
    notes = [f"left out, since there is no estimate of it: {stem}" for stem in left_out]
    return ChosenSignals(references, stems), notes


def _device(name: str) -> str:
    """Choose a device with double precision."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.split(":")[0] == "cuda" and torch.cuda.is_available()):
        raise ParameterError(
            f"device={name!r} must be auto, cpu or, where there is one, cuda: the scores need "
            "double precision"
        )
    return name

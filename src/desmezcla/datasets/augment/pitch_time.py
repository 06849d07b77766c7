"""Changes of pitch and of tempo."""

import math
from fractions import Fraction
from typing import Annotated, Literal

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.filter import Graph
from pydantic import AfterValidator

from desmezcla.datasets.augment.base import Audio, Range, StemAugmentation

# Where a stretched signal ends before the segment does, it is faded over this time.
_FADE_S = 0.005

# More than an octave sounds like another instrument, and less than half a rate has no filter.
_MAX_SEMITONES = 12.0
_MAX_RATE = 2.0


def _within_an_octave(bounds: tuple[float, float]) -> tuple[float, float]:
    if max(abs(bounds[0]), abs(bounds[1])) > _MAX_SEMITONES:
        raise ValueError("semitones must lie between -12 and 12")
    return bounds


def _half_to_double(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] < 1 / _MAX_RATE or bounds[1] > _MAX_RATE:
        raise ValueError("rates must lie between 0.5 and 2")
    return bounds


class PitchShift(StemAugmentation):
    """Move the pitch of a stem and keep its tempo: f -> f·2^(semitones / 12).

    The stem is resampled, which moves pitch and tempo, and the tempo is brought back. All stems
    are moved together unless told otherwise, because a song is in one key.

    Attributes:
        semitones: Range of the shift.
    """

    kind: Literal["pitch_shift"] = "pitch_shift"
    together: bool = True
    semitones: Annotated[Range, AfterValidator(_within_an_octave)] = (-2.0, 2.0)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` at another pitch."""
        factor = 2 ** (rng.uniform(*self.semitones) / 12)
        flat = audio.reshape(-1, audio.shape[-1])  # [N·C, T]
        # A copy, since soxr takes the view of a single frame for channels one after the other.
        faster = soxr.resample(flat.T.copy(), factor, 1.0).reshape(-1, len(flat)).T
        return stretch(faster, 1 / factor, sample_rate, audio.shape[-1]).reshape(audio.shape)


class TempoStretch(StemAugmentation):
    """Play a stem at another tempo and keep its pitch.

    The segment keeps its length: of a slower one the end is cut, and a faster one ends in silence,
    after a fade. All stems are stretched together unless told otherwise, and stay together to the
    sample.

    Attributes:
        rate: Range of the new tempo divided by the old one.
    """

    kind: Literal["tempo_stretch"] = "tempo_stretch"
    together: bool = True
    rate: Annotated[Range, AfterValidator(_half_to_double)] = (0.88, 1.12)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` at another tempo."""
        flat = audio.reshape(-1, audio.shape[-1])
        stretched = stretch(flat, rng.uniform(*self.rate), sample_rate, audio.shape[-1])
        return stretched.reshape(audio.shape)


def stretch(audio: Audio, rate: float, sample_rate: int, length: int) -> Audio:
    """Return a signal at another tempo, cut or continued with silence to a length.

    FFmpeg's filter `atempo` overlaps and adds pieces of the signal where they fit best (Verhelst
    and Roelands, "An overlap-add technique based on waveform similarity", ICASSP 1993). All
    channels take the same pieces.

    Args:
        audio: The signal.
        rate: New tempo divided by the old one, 0.5 to 2.
        sample_rate: In Hz.
        length: Samples to return.

    Shape:
        audio: `[C, T]`; returns `[C, length]`.
    """
    # The filter works with windows of this length, and loses the first half of one.
    window = 2 ** math.ceil(math.log2(sample_rate / 24))
    edge = np.zeros((len(audio), window), np.float32)
    filtered = _atempo(np.concatenate([edge, audio, edge], axis=1), rate, sample_rate)
    start = round(window / rate) - window // 2
    sounding = min(length, round(audio.shape[1] / rate))
    stretched = np.zeros((len(audio), length), np.float32)
    piece = filtered[:, start : start + sounding]
    stretched[:, : piece.shape[1]] = piece
    if sounding < length:
        fade = min(round(_FADE_S * sample_rate), sounding)
        stretched[:, sounding - fade : sounding] *= np.linspace(1, 0, fade, dtype=np.float32)
    return stretched


def _atempo(audio: Audio, rate: float, sample_rate: int) -> Audio:
    """Return what FFmpeg's filter makes of a signal. Shape: `[C, T]` -> `[C, about T / rate]`."""
    channels = len(audio)
    graph = Graph()
    source = graph.add(
        "abuffer",
        f"sample_rate={sample_rate}:sample_fmt=flt:channel_layout={channels}c"
        f":time_base=1/{sample_rate}",
    )
    graph.link_nodes(source, graph.add("atempo", repr(rate)), graph.add("abuffersink")).configure()
    packed = np.ascontiguousarray(audio.T).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=f"{channels}c")
    frame.sample_rate = sample_rate
    frame.time_base = Fraction(1, sample_rate)
    frame.pts = 0
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pulled = graph.pull()
        except (EOFError, av.BlockingIOError):
            break
        assert isinstance(pulled, AudioFrame), pulled
        pieces.append(pulled.to_ndarray())
    stretched: Audio = np.concatenate(pieces, axis=1).reshape(-1, channels).T
    return stretched

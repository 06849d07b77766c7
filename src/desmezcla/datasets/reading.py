"""The audio of a track: stems as arrays of one length, and what the files' headers say."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.reader import AudioInfo, AudioReader
from desmezcla.audio.resample import resample, resampled_length
from desmezcla.datasets.track import Source, Track
from desmezcla.errors import DatasetError, ParameterError

Audio = NDArray[np.float32]

# What is asked for as a stem to get the song itself.
MIXTURE = "mixture"

# Names that mean "all stems but the vocals"; "no_drums" and the like say it themselves.
_ALL_BUT_VOCALS = frozenset({"accompaniment", "instrumental"})

# What is read on both sides of a part before resampling, so that it comes out as if the whole
# file had been resampled: measured differences are below 1e-6.
_MARGIN_S = 0.1


@dataclass(frozen=True)
class TrackInfo:
    """What the headers of a track's files say.

    Attributes:
        length_samples: Of the longest file, at `sample_rate`.
        sample_rate: The highest of the files' rates, in Hz.
        channels: The largest number of channels.
    """

    length_samples: int
    sample_rate: int
    channels: int


def left_out_stem(stem: str) -> str | None:
    """Return which stem a sum of stems leaves out, or None for a name that is no sum.

    >>> left_out_stem("no_drums"), left_out_stem("accompaniment"), left_out_stem("drums")
    ('drums', 'vocals', None)
    """
    if stem in _ALL_BUT_VOCALS:
        return "vocals"
    return stem.removeprefix("no_") if stem.startswith("no_") and stem != "no_" else None


def component_stems(stems: Iterable[str]) -> tuple[str, ...]:
    """Return those of a track's stems that add up to the song.

    A sum such as "accompaniment" counts only where the stems that it consists of are not there.

    >>> component_stems(["vocals", "accompaniment"])
    ('vocals', 'accompaniment')
    >>> component_stems(["vocals", "drums", "accompaniment"])
    ('vocals', 'drums')
    """
    names = tuple(stems)
    plain = tuple(name for name in names if left_out_stem(name) is None)
    for name in names:
        left_out = left_out_stem(name)
        if left_out is not None and set(plain) <= {left_out}:
            return (*plain, name)
    return plain


def stem_sources(track: Track, stem: str) -> tuple[Source, ...]:
    """Return the sources whose sum is a stem, or the song for "mixture".

    A sum of stems that the track does not hold ("accompaniment", "no_drums") consists of all the
    others. A stem that the song does not have has no sources: it is silent.

    Errors:
        DatasetError: if the sum cannot be made from the stems that there are.
    """
    if stem == MIXTURE and track.mixture is not None:
        return (track.mixture,)
    if stem in track.stems:
        return track.stems[stem]
    left_out = left_out_stem(stem)
    if stem != MIXTURE and left_out is None:
        return ()
    wanted = [name for name in component_stems(track.stems) if name != left_out]
    for name in wanted:
        contained = left_out_stem(name)
        if left_out is not None and contained is not None and contained != left_out:
            raise DatasetError(
                f"stem={stem!r} cannot be made for track {track.name!r}: {left_out!r} is not apart "
                f"in {name!r}; choose one of {', '.join(track.stems)}"
            )
    return tuple(source for name in wanted for source in track.stems[name])


def track_info(track: Track) -> TrackInfo:
    """Read the headers of a track's files.

    Errors:
        AudioFileError: if a file cannot be read.
        DatasetError: if a file has more than two channels, or does not tell its length.
    """
    lengths: list[tuple[int, int]] = []
    channels = 1
    for source in _all_sources(track):
        with AudioReader(source.path, stream=source.stream) as reader:
            if reader.length_samples is None:
                raise DatasetError(
                    f"{str(source.path)!r} does not tell its length; convert it to wav or flac"
                )
            lengths.append((reader.length_samples, reader.sample_rate))
            channels = max(channels, _channels_of(source, reader.channels))
    rate = max(rate for _, rate in lengths)
    longest = max(resampled_length(length, own, rate) for length, own in lengths)
    return TrackInfo(longest, rate, channels)


def read_stem(
    track: Track,
    stem: str,
    *,
    sample_rate: int,
    channels: int,
    start_samples: int = 0,
    samples: int | None = None,
) -> Audio:
    """Read a stem, or a part of it, as all stems of the track have it: equal in length.

    Its sources are added, see `stem_sources`; what is shorter than the track is followed by
    silence, and so is a part that goes beyond the track's end. Mono is copied to two channels, and
    two channels become one by their mean.

    Args:
        track: The song.
        stem: Name of a stem; "mixture" for the song.
        sample_rate: What to resample to, in Hz.
        channels: 1 or 2.
        start_samples: First sample of the part, at `sample_rate`.
        samples: Length of the part, at `sample_rate`; None for all that follows.

    Shape:
        returns `[C, T]`.

    Errors:
        AudioFileError: if a file cannot be read.
        DatasetError: if a file has more than two channels, or the stem cannot be made.
        ParameterError: if an argument is out of range.
    """
    _check_part(sample_rate, channels, start_samples, samples)
    sources = stem_sources(track, stem)
    if samples is None:
        info = track_info(track)
        length = resampled_length(info.length_samples, info.sample_rate, sample_rate)
        samples = length - start_samples
        if samples < 1:
            raise ParameterError(
                f"start_samples={start_samples} must be before the end of track {track.name!r}, "
                f"which has {length} samples at {sample_rate} Hz"
            )
    part = {"start_samples": start_samples, "samples": samples}
    total = np.zeros((channels, samples), np.float32)
    for source in sources:
        audio = read_source(source, sample_rate=sample_rate, channels=channels, **part)
        total[:, : audio.shape[1]] += audio
    return total


def read_source(
    source: Source,
    *,
    sample_rate: int,
    channels: int,
    start_samples: int = 0,
    samples: int | None = None,
) -> Audio:
    """Read one file of a track, or a part of it; the arguments and errors are `read_stem`'s.

    Shape:
        returns `[C, T]`; T is less than `samples` where the file ends before.
    """
    _check_part(sample_rate, channels, start_samples, samples)
    stop = None if samples is None else start_samples + samples
    with AudioReader(source.path, stream=source.stream) as reader:
        info = reader.info
    rate = info.sample_rate
    if rate == sample_rate:
        return _with_channels(_read_part(source, info, start_samples, stop), channels)
    # Both rates meet after this many samples, so that a part which starts there has the phase
    # that it has in the whole file.
    period_in, period_out = (r // math.gcd(rate, sample_rate) for r in (rate, sample_rate))
    before = math.ceil(_MARGIN_S * sample_rate)
    periods = max(0, start_samples - before) // period_out
    stop_in = None if stop is None else -(-(stop + before) * rate // sample_rate)
    audio = _with_channels(_read_part(source, info, periods * period_in, stop_in), channels)
    skipped = start_samples - periods * period_out
    return resample(audio, rate, sample_rate)[:, skipped:][:, :samples]


def _all_sources(track: Track) -> tuple[Source, ...]:
    parts = [source for sources in track.stems.values() for source in sources]
    return tuple(dict.fromkeys([*([track.mixture] if track.mixture else []), *parts]))


def _check_part(sample_rate: int, channels: int, start_samples: int, samples: int | None) -> None:
    if sample_rate < 1:
        raise ParameterError(f"sample_rate={sample_rate} Hz must be positive")
    if channels not in (1, 2):
        raise ParameterError(f"channels={channels} must be 1 or 2")
    if start_samples < 0:
        raise ParameterError(f"start_samples={start_samples} must be 0 or more")
    if samples is not None and samples < 1:
        raise ParameterError(f"samples={samples} must be 1 or more")


def _channels_of(source: Source, channels: int) -> int:
    """Return how many channels are taken from a file, if it can be used at all."""
    if channels > 2:
        raise DatasetError(
            f"{str(source.path)!r} has {channels} channels, and datasets have 1 or 2; "
            "mix it down first"
        )
    if source.channel is None:
        return channels
    if source.channel >= channels:
        raise DatasetError(
            f"{str(source.path)!r} has {channels} channel(s), so channel {source.channel} cannot "
            "be taken from it (they count from 0); name the right kind of dataset"
        )
    return 1


def _read_part(source: Source, info: AudioInfo, start: int, stop: int | None) -> Audio:
    """Read samples of a file at its own rate, as many as there are.

    Shape:
        returns `[C, T]`.
    """
    nothing = np.zeros((_channels_of(source, info.channels), 0), np.float32)
    if info.length_samples is not None and start >= info.length_samples:
        return nothing
    start_s = start / info.sample_rate
    duration_s = None if stop is None else (stop - start) / info.sample_rate
    with AudioReader(
        source.path, stream=source.stream, start_s=start_s, duration_s=duration_s
    ) as reader:
        blocks = [nothing]
        try:
            for block in reader.blocks():
                one = source.channel
                blocks.append(block if one is None else block[one : one + 1])
        except ParameterError:
            # The start lies beyond the end, where a header promised more than there is.
            return nothing
    return np.concatenate(blocks, axis=1)


def _with_channels(audio: Audio, channels: int) -> Audio:
    if len(audio) == channels:
        return audio
    if channels == 2:
        return np.repeat(audio, 2, axis=0)
    mono: Audio = audio.mean(axis=0, keepdims=True)
    return mono

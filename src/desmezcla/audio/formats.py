"""The file formats that can be written: what each holds, and whether a request fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from desmezcla.errors import ParameterError

BitDepth = Literal["16", "24", "32f"]

_PCM: dict[BitDepth | None, str] = {"16": "pcm_s16le", "24": "pcm_s24le", "32f": "pcm_f32le"}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class FileFormat:
    """What a file format can hold.

    Attributes:
        name: The format's name in options, for example "flac".
        extension: Ending of its files, without the dot.
        muxer: Name of FFmpeg's muxer.
        codecs: The encoder for each bit depth; the first is the default. The key None stands for
            a lossy encoder, which has no bit depth.
        rates: Sample rates that it takes, in Hz, ascending; None for any.
        channels: Channel counts that it takes.
        bitrate_per_channel: The default for lossy encoders, in bit/s.
        bitrate_limits: Lowest and highest bitrate of a channel, in bit/s.
    """

    name: str
    extension: str
    muxer: str
    codecs: Mapping[BitDepth | None, str]
    rates: tuple[int, ...] | None = None
    channels: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    bitrate_per_channel: int | None = None
    bitrate_limits: tuple[int, int] = (0, 0)

    @property
    def bit_depths(self) -> tuple[BitDepth, ...]:
        """The bit depths that can be chosen; none for a lossy format."""
        return tuple(depth for depth in self.codecs if depth is not None)

    @property
    def lossless(self) -> bool:
        """Whether the default encoder keeps every sample."""
        return None not in self.codecs


FORMATS: dict[str, FileFormat] = {
    f.name: f
    for f in (
        FileFormat("wav", "wav", "wav", _PCM),
        FileFormat("flac", "flac", "flac", {"16": "flac", "24": "flac"}),
        FileFormat(
            "mp3",
            "mp3",
            "mp3",
            {None: "libmp3lame"},
            rates=_MP3_RATES,
            channels=(1, 2),
            bitrate_per_channel=160_000,
            bitrate_limits=(8_000, 320_000),
        ),
        # libsndfile carries libvorbis; FFmpeg's own Vorbis encoder is stereo only and does not
        # keep the length (see docs/decisions.md).
        FileFormat(
            "ogg",
            "ogg",
            "ogg",
            {None: "vorbis"},
            bitrate_per_channel=128_000,
            bitrate_limits=(32_000, 250_000),
        ),
        # A decoder of Opus always gives 48000 Hz, whatever it was made from. FFmpeg's encoder
        # confuses the channels of 5.0 and 6.1.
        FileFormat(
            "opus",
            "opus",
            "opus",
            {None: "libopus"},
            rates=(48000,),
            channels=(1, 2, 3, 4, 6, 8),
            bitrate_per_channel=96_000,
            bitrate_limits=(12_000, 256_000),
        ),
        FileFormat(
            "m4a",
            "m4a",
            "ipod",
            {None: "aac"},
            rates=_AAC_RATES,
            bitrate_per_channel=128_000,
            bitrate_limits=(8_000, 288_000),
        ),
        # FFmpeg's ALAC encoder ends the whole process if the last frame of more than two channels
        # is very short.
        FileFormat("alac", "m4a", "ipod", {"16": "alac", "24": "alac"}, channels=(1, 2)),
        FileFormat(
            "stem.mp4",
            "stem.mp4",
            "mp4",
            {None: "aac", "16": "alac", "24": "alac"},
            rates=_AAC_RATES,
            channels=(1, 2),
            bitrate_per_channel=128_000,
            bitrate_limits=(8_000, 288_000),
        ),
    )
}

_ALIASES = {"wave": "wav", "oga": "ogg", "aac": "m4a", "mp4": "m4a"}


@dataclass(frozen=True)
class OutputFormat:
    """A format with everything chosen and checked; what `check_output` returns."""

    format: FileFormat
    codec: str
    sample_rate: int
    channels: int
    bit_depth: BitDepth | None
    bitrate: int | None


def find_format(name: str) -> FileFormat:
    """Return the format of a name or an extension, in any case, with or without a dot.

    Errors:
        ParameterError: if there is no such format.
    """
    key = name.lower().removeprefix(".")
    key = _ALIASES.get(key, key)
    if key not in FORMATS:
        raise ParameterError(
            f"format={name!r} cannot be written; choose one of {', '.join(FORMATS)}"
        )
    return FORMATS[key]


def format_of_path(path: PurePath) -> FileFormat:
    """Return the format that a file name's ending stands for.

    Errors:
        ParameterError: if it stands for none.
    """
    if path.name.lower().endswith(".stem.mp4"):
        return FORMATS["stem.mp4"]
    return find_format(path.suffix)


def check_output(
    format: str,
    sample_rate: int,
    channels: int,
    bit_depth: BitDepth | None = None,
    bitrate: int | None = None,
) -> OutputFormat:
    """Check that a format can hold what is to be written, before any work is done.

    Args:
        format: A name in `FORMATS`, or an alias.
        sample_rate: Sample rate in Hz; see `writable_rate` for the nearest that the format takes.
        channels: Number of channels.
        bit_depth: None for the format's default (16, or a lossy encoder).
        bitrate: Bit/s of the whole file, for lossy encoders; None for the default.

    Errors:
        ParameterError: names the value that does not fit, and those that do.
    """
    f = find_format(format)
    if bit_depth is None:
        bit_depth = next(iter(f.codecs))
    if bit_depth not in f.codecs:
        allowed = ", ".join(f.bit_depths) or "none, because it is lossy: leave the option out"
        raise ParameterError(f"bit_depth={bit_depth} does not fit {f.name}; it takes {allowed}")
    if f.rates is not None and sample_rate not in f.rates:
        raise ParameterError(
            f"sample_rate={sample_rate} Hz does not fit {f.name}, which takes "
            f"{', '.join(map(str, f.rates))}; resample to {writable_rate(f.name, sample_rate)} Hz"
        )
    if channels not in f.channels:
        raise ParameterError(
            f"channels={channels} does not fit {f.name}, which takes "
            f"{', '.join(map(str, f.channels))}; choose wav or flac"
        )
    if bit_depth is not None and bitrate is not None:
        raise ParameterError(f"bitrate={bitrate} has no meaning for {f.name}: it is lossless")
    if bit_depth is None:
        bitrate = _checked_bitrate(f, sample_rate, channels, bitrate)
    return OutputFormat(f, f.codecs[bit_depth], sample_rate, channels, bit_depth, bitrate)


def _checked_bitrate(f: FileFormat, sample_rate: int, channels: int, bitrate: int | None) -> int:
    assert f.bitrate_per_channel is not None, f.name
    lowest, highest = (limit * channels for limit in f.bitrate_limits)
    if f.name == "mp3":  # the limits are those of the whole file, lower in MPEG 2
        lowest, highest = f.bitrate_limits
        highest = highest if sample_rate >= 32000 else highest // 2
    elif f.codecs[None] == "aac":  # a frame of 1024 samples has at most 6144 bits per channel
        highest = min(highest, 6 * sample_rate * channels)
    if bitrate is None:
        return min(f.bitrate_per_channel * channels, highest)
    if not lowest <= bitrate <= highest:
        raise ParameterError(
            f"bitrate={bitrate} bit/s must be between {lowest} and {highest} for {channels} "
            f"channel(s) of {f.name} at {sample_rate} Hz"
        )
    return bitrate


def writable_rate(format: str, sample_rate: int) -> int:
    """Return the sample rate at which a format keeps most of some audio.

    That is the same rate if the format takes it, else the next higher one; above its highest, the
    highest that divides the rate (88200 Hz becomes 44100 Hz in mp3, not 48000 Hz).
    """
    rates = find_format(format).rates
    if rates is None or sample_rate in rates:
        return sample_rate
    higher = [rate for rate in rates if rate > sample_rate]
    if higher:
        return higher[0]
    divisors = [rate for rate in rates if rate >= 32000 and sample_rate % rate == 0]
    return max(divisors or rates)

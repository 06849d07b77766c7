"""The losses of MP3 and AAC."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal, cast

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext
from pydantic import Field

from desmezcla.datasets.augment.base import Audio, SignalAugmentation
from desmezcla.errors import ParameterError

Coding = Literal["mp3", "aac"]

# FFmpeg's encoder and decoder, and options that make the encoders two to three times faster.
_CODECS: dict[Coding, tuple[str, str, dict[str, str]]] = {
    "mp3": ("libmp3lame", "mp3float", {"compression_level": "7"}),
    "aac": ("aac", "aac", {"aac_coder": "fast"}),
}

# FFmpeg's AAC encoder cannot express tones near full scale: at a peak of 1, a sine
# of 440 Hz comes back with an error of -9 dB, at 0.1 with one of -66 dB.
_PEAK = 0.1


class Codec(SignalAugmentation):
    """Encode a signal and decode it again, at a bit rate drawn from a list.

    The samples stay where they are: the delay of the codec is taken away. Loud signals are turned
    down before, and up again after it, so that levels above full scale are kept.

    Attributes:
        codings: The codecs to draw from.
        bitrates_kbps: The bit rates to draw from, of all channels together, kbit/s. The encoder
            takes the nearest that it has.
    """

    kind: Literal["codec"] = "codec"
    on: Literal["stems", "mixture"] = "mixture"
    codings: tuple[Coding, ...] = Field(default=("mp3", "aac"), min_length=1)
    bitrates_kbps: tuple[Annotated[int, Field(ge=8, le=512)], ...] = Field(
        default=(64, 96, 128, 192, 256), min_length=1
    )

    def check(self, *, stem_names: Sequence[str], sample_rate: int) -> None:
        """Refuse sample rates that a codec does not have."""
        super().check(stem_names=stem_names, sample_rate=sample_rate)
        for coding in self.codings:
            rates = CodecContext.create(_CODECS[coding][0], "w").codec.audio_rates or []
            if sample_rate not in rates:
                raise ParameterError(
                    f"sample_rate={sample_rate} Hz is none that {coding!r} has "
                    f"({', '.join(map(str, sorted(rates)))}); remove it from the codings of "
                    "augmentation 'codec'"
                )

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]`, coded."""
        coding = self.codings[rng.integers(len(self.codings))]
        kbps = self.bitrates_kbps[rng.integers(len(self.bitrates_kbps))]
        scale = np.abs(audio).max(axis=(1, 2), keepdims=True).clip(min=_PEAK) / np.float32(_PEAK)
        signals = [coded(signal, coding, kbps, sample_rate) for signal in audio / scale]
        loud: Audio = np.stack(signals) * scale
        return loud


def coded(audio: Audio, coding: Coding, kbps: int, sample_rate: int) -> Audio:
    """Return a signal as it is after a codec, with the same length and no delay.

    Shape:
        audio: `[C, T]`, C 1 or 2; returns the same.
    """
    encoder_name, decoder_name, options = _CODECS[coding]
    layout = "mono" if len(audio) == 1 else "stereo"
    encoder = cast(AudioCodecContext, CodecContext.create(encoder_name, "w"))
    encoder.sample_rate = sample_rate
    encoder.format = "fltp"
    encoder.layout = layout
    encoder.bit_rate = kbps * 1000
    encoder.time_base = Fraction(1, sample_rate)
    encoder.options = options
    encoder.open()
    size = encoder.frame_size
    # Two frames of silence at the end push out all that an encoder holds.
    padded = np.pad(audio, ((0, 0), (0, 2 * size + -audio.shape[1] % size)))
    packets = []
    for start in range(0, padded.shape[1], size):
        piece = np.ascontiguousarray(padded[:, start : start + size])
        frame = AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        frame.time_base = encoder.time_base
        frame.pts = start
        packets.extend(encoder.encode(frame))
    packets.extend(encoder.encode(None))

    decoder = cast(AudioCodecContext, CodecContext.create(decoder_name, "r"))
    decoder.extradata = encoder.extradata
    decoder.sample_rate = sample_rate
    decoder.layout = layout
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    # Decoders cut the delay of some codecs from the first frame without correcting its time; the
    # time of the second frame is always right.
    second = frames[1].pts
    assert second is not None
    delay = frames[0].samples - second
    decoded = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return decoded[:, delay : delay + audio.shape[1]]

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.errors import ParameterError
from desmezcla.live.pcm import PCM_FORMATS, PcmDecoder, PcmEncoder, PcmFormat, find_pcm_format
from desmezcla.live.stream import Audio

FORMATS = list(PCM_FORMATS.values())
INTEGERS = [f for f in FORMATS if f.kind != "f"]
RANDOM = np.random.default_rng(0)

# What libsndfile calls them.
SUBTYPES = {
    ("u", 8): "PCM_U8",
    ("s", 16): "PCM_16",
    ("s", 24): "PCM_24",
    ("s", 32): "PCM_32",
    ("f", 32): "FLOAT",
    ("f", 64): "DOUBLE",
}


def by_libsndfile(data: bytes, format: PcmFormat, channels: int) -> np.ndarray:
    audio, _ = soundfile.read(
        io.BytesIO(data),
        samplerate=44100,
        channels=channels,
        format="RAW",
        subtype=SUBTYPES[format.kind, format.bits],
        endian="LITTLE" if format.order == "<" else "BIG",
        always_2d=True,
    )
    return np.asarray(audio.T)


def noise(channels: int, samples: int = 1000) -> Audio:
    return RANDOM.uniform(-1, 1, (channels, samples)).astype(np.float32)


def decoded(data: bytes, format: PcmFormat, channels: int = 1) -> Audio:
    return PcmDecoder(format, channels).decode(data)


@pytest.mark.parametrize("format", INTEGERS, ids=lambda f: f.name)
def test_any_bytes_mean_what_they_mean_to_libsndfile(format: PcmFormat) -> None:
    data = RANDOM.bytes(format.sample_bytes * 3000)
    np.testing.assert_array_equal(
        decoded(data, format, 3), by_libsndfile(data, format, 3).astype(np.float32)
    )


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_what_is_written_is_what_libsndfile_reads(format: PcmFormat, channels: int) -> None:
    audio = noise(channels)
    encoder = PcmEncoder(format)
    read = by_libsndfile(encoder.encode(audio), format, channels)
    half_a_step = 0.0 if format.kind == "f" else 2.0**-format.bits
    # The highest integer is a whole step below full scale.
    np.testing.assert_allclose(read, np.minimum(audio, 1 - 2 * half_a_step), atol=half_a_step)
    assert encoder.clipped_samples == 0


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_there_and_back_is_the_same(format: PcmFormat) -> None:
    audio = noise(2)
    if format.kind != "f":
        # Levels of the format that float32 has, too.
        scale = 2.0 ** (min(format.bits, 24) - 1)
        audio = (np.floor(audio * scale) / scale).astype(np.float32)
    data = PcmEncoder(format).encode(audio)
    assert len(data) == 2000 * format.sample_bytes
    np.testing.assert_array_equal(decoded(data, format, 2), audio)


@pytest.mark.parametrize("format", INTEGERS, ids=lambda f: f.name)
def test_integers_saturate_and_are_counted(format: PcmFormat) -> None:
    audio = np.array([[1.0, -1.0, 1.1, -1.1, 1e30, -1e30, 0.0]], np.float32)
    encoder = PcmEncoder(format)
    step = 2.0 ** (1 - format.bits)
    expected = [[1 - step, -1, 1 - step, -1, 1 - step, -1, 0]]
    read = by_libsndfile(encoder.encode(audio), format, 1)
    np.testing.assert_allclose(read, expected, rtol=0, atol=1e-12)
    assert encoder.clipped_samples == 4  # full scale itself is not beyond it
    encoder.encode(audio)
    assert encoder.clipped_samples == 8


def test_floats_keep_what_is_beyond_full_scale() -> None:
    audio = np.array([[1.5, -3.0]], np.float32)
    for name in ("f32le", "f64be"):
        encoder = PcmEncoder(find_pcm_format(name))
        np.testing.assert_array_equal(decoded(encoder.encode(audio), encoder.format), audio)
        assert encoder.clipped_samples == 0


@given(st.data())
def test_frames_are_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(FORMATS))
    channels = data.draw(st.integers(1, 8))
    raw = PcmEncoder(format).encode(noise(channels, 20))
    end = data.draw(st.integers(0, len(raw)))
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=10)))
    decoder = PcmDecoder(format, channels)
    pieces = [
        decoder.decode(raw[start:stop])
        for start, stop in zip([0, *cuts], [*cuts, end], strict=True)
    ]
    whole, rest = divmod(end, decoder.frame_bytes)
    np.testing.assert_array_equal(
        np.concatenate(pieces, axis=1), decoded(raw, format, channels)[:, :whole]
    )
    assert decoder.rest_bytes == rest


@pytest.mark.parametrize("name", ["f32le", "f32be", "f64le", "f64be"])
def test_what_is_no_finite_number_becomes_silence_and_is_counted(name: str) -> None:
    format = find_pcm_format(name)
    values = np.array([0.5, np.nan, np.inf, -np.inf, -0.25]).astype(format.dtype)
    decoder = PcmDecoder(format, 1)
    np.testing.assert_array_equal(decoder.decode(values.tobytes()), [[0.5, 0, 0, 0, -0.25]])
    assert decoder.replaced_samples == 3
    decoder.decode(values.tobytes())
    assert decoder.replaced_samples == 6


def test_a_double_too_large_for_a_float_becomes_silence_and_is_counted() -> None:
    decoder = PcmDecoder(find_pcm_format("f64le"), 1)
    np.testing.assert_array_equal(decoder.decode(np.array([1e300, 1.0]).tobytes()), [[0, 1]])
    assert decoder.replaced_samples == 1


def test_names_are_those_of_ffmpeg_in_any_case() -> None:
    assert find_pcm_format("S16LE") is PCM_FORMATS["s16le"]
    with pytest.raises(ParameterError, match=r"'s16' is not known; choose one of u8, s16le, "):
        find_pcm_format("s16")

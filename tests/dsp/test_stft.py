import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.dsp.stft import istft, stft
from desmezcla.errors import ParameterError


@given(
    length=st.integers(1, 700),
    n_fft=st.sampled_from([4, 16, 64, 256]),
    hops=st.sampled_from([2, 4]),
)
def test_the_inverse_gives_back_the_signal_in_exact_length(
    length: int, n_fft: int, hops: int
) -> None:
    window = torch.hann_window(n_fft, dtype=torch.float64)
    audio = torch.randn(
        2, 3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    spectrum = stft(audio, n_fft=n_fft, hop_length=n_fft // hops, window=window)
    back = istft(spectrum, hop_length=n_fft // hops, window=window, length=length)
    assert back.shape == audio.shape
    torch.testing.assert_close(back, audio, rtol=0, atol=1e-9)


def test_frames_are_those_of_scipy() -> None:
    audio = np.random.default_rng(0).standard_normal(2000)
    window = torch.hann_window(256, dtype=torch.float64)
    ours = stft(torch.from_numpy(audio), n_fft=256, hop_length=64, window=window).numpy()
    reference = scipy.signal.ShortTimeFFT(window.numpy(), 64, 1.0, phase_shift=None)
    reflected = np.pad(audio, 128, mode="reflect")
    theirs = reference.stft(reflected, p0=2, p1=2 + ours.shape[1], k_offset=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_nothing_cannot_be_transformed() -> None:
    with pytest.raises(ParameterError, match="0 samples"):
        stft(torch.zeros(2, 0), n_fft=16, hop_length=4, window=torch.hann_window(16))

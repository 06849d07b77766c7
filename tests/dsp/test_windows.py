import numpy as np
import pytest
import scipy.signal.windows
import torch

from desmezcla.dsp.windows import window, window_names
from desmezcla.errors import ParameterError


@pytest.mark.parametrize("n", [1, 2, 7, 1024])
@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "blackmanharris"])
def test_a_window_is_the_periodic_one_of_scipy(name: str, n: int) -> None:
    reference = scipy.signal.windows.get_window(name, n, fftbins=True)
    np.testing.assert_allclose(window(name, n).numpy(), reference, atol=1e-7)


def test_the_square_of_sqrt_hann_is_hann() -> None:
    torch.testing.assert_close(window("sqrt-hann", 256).square(), window("hann", 256))


@pytest.mark.parametrize("name", ["hann", "sqrt-hann", "hamming", "rectangular"])
def test_squared_windows_at_a_quarter_hop_add_up_to_a_constant(name: str) -> None:
    total = window(name, 64).square().reshape(4, 16).sum(0)
    torch.testing.assert_close(total, total[:1].expand(16))


def test_windows_are_float32() -> None:
    assert {window(name, 8).dtype for name in window_names()} == {torch.float32}


def test_an_unknown_name_or_an_empty_window_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"window='han' is unknown.*sqrt-hann"):
        window("han", 8)
    with pytest.raises(ParameterError, match="n=0 samples"):
        window("hann", 0)

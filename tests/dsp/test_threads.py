"""Work that is shared out to cores gives what it gives in one thread."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from desmezcla.dsp.threads import on_all_cores, summed_on_all_cores, with_threads
from desmezcla.models import build_model
from desmezcla.models.open_unmix import TINY

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Share work out to two threads, however many the tests were given."""
    with with_threads(2):
        yield


def test_results_come_in_order_from_other_threads_with_the_modes_of_this_one() -> None:
    def call(number: int) -> tuple[int, int, bool, torch.dtype]:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return number, threading.get_ident(), torch.is_inference_mode_enabled(), product.dtype

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = on_all_cores(call, range(20), CPU)
    assert [number for number, *_ in found] == list(range(20))
    assert {(inference, dtype) for _, _, inference, dtype in found} == {(True, torch.bfloat16)}
    assert threading.get_ident() not in {ident for _, ident, *_ in found}


def test_gradients_need_one_thread() -> None:
    with torch.enable_grad():
        assert set(on_all_cores(lambda _: threading.get_ident(), range(4), CPU)) == {
            threading.get_ident()
        }


def test_a_sum_is_that_of_all_parts() -> None:
    with torch.no_grad():
        total = summed_on_all_cores(lambda n: torch.full((2,), float(n)), range(40), CPU)
    assert total.tolist() == [780.0, 780.0]


def test_open_unmix_side_by_side_gives_what_it_gives_in_one_thread() -> None:
    torch.manual_seed(0)
    model = build_model("open_unmix", **TINY).eval()
    mix = torch.randn(1, 2, 20000, generator=torch.Generator().manual_seed(0))

    def stems() -> Tensor:
        with torch.inference_mode():
            result: Tensor = model(mix)
        return result

    two = stems()
    with with_threads(1):
        torch.testing.assert_close(two, stems(), rtol=0, atol=1e-6)

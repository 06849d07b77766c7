"""The same small computation on many parts of a signal, shared out to the processor's cores.

Passes over a few thousand values are too short for the cores to share, and passes over whole songs
leave the caches: so each core takes parts of its own.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def on_all_cores(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], device: torch.device
) -> list[Result]:
    """Call a function for each of the arguments, and return the results in order.

    Gradients need the calls in order, in one thread; on other devices than the CPU there is nothing
    to share out.

    Args:
        function: What computes with torch, and changes nothing that others see.
        arguments: What it is called with.
        device: Where it computes.
    """
    threads = min(torch.get_num_threads(), len(arguments))
    if threads <= 1 or device.type != "cpu" or torch.is_grad_enabled():
        return [function(each) for each in arguments]
    # A thread starts without its parent's modes.
    inference = torch.is_inference_mode_enabled()
    low, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def call(each: Argument) -> Result:
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", dtype, low):
            return function(each)

    return list(_pool(threads).map(call, arguments))


def summed_on_all_cores(
    function: Callable[[Argument], torch.Tensor],
    arguments: Sequence[Argument],
    device: torch.device,
) -> torch.Tensor:
    """Return the sum of the tensors that a function returns, without holding them all.

    Args:
        function: As in `on_all_cores`; its results have one shape.
        arguments: What it is called with; at least one.
        device: Where it computes.
    """
    at_once = 8 * torch.get_num_threads()
    total = torch.zeros((), device=device)
    for begin in range(0, len(arguments), at_once):
        parts = on_all_cores(function, arguments[begin : begin + at_once], device)
        total = sum(parts, start=total)
    return total


@contextlib.contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Have torch compute with so many threads, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads that compute on one core each; they are kept, since starting them is slow."""
    return ThreadPoolExecutor(threads, "desmezcla", torch.set_num_threads, (1,))

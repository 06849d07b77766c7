"""Streams hold no more after many blocks than after few, and leave nothing to collect.

Each test is also made of a stream that does leak, a frame or a cycle per block, and must see it.
"""

import gc
import importlib
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from desmezcla.dsp.threads import with_threads
from desmezcla.inference.realtime import StreamSeparator
from desmezcla.models import build_model

Audio = NDArray[np.float32]
Process = Callable[[Audio], Any]

CAUSAL: dict[str, dict[str, Any]] = {
    "deepsampler": {"causal": True, "synthesis_samples": 128, "past_s": 0.03},
    "open_unmix": {"unidirectional": True, "wiener_iterations": 0},
    "hs_tasnet": {},
    "conv_tasnet": {"causal": True, "norm": "cumulative"},
}
# Not the model's, so that samples go through the resamplers as well.
RATE = 48000
HOP = 64
FRAME = (2, 256)

# Python keeps up to 2000 freed tuples of each length, which fill up over the first blocks.
TRACED_BYTES = 128 << 10
RESIDENT_BYTES = 1 << 19


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other at every small product take long on a busy machine."""
    with with_threads(1):
        yield


def stream_of(key: str) -> StreamSeparator:
    tiny: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    torch.manual_seed(0)
    return StreamSeparator(build_model(key, **tiny | CAUSAL[key]), sample_rate=RATE)


def blocks_through(process: Process, blocks: int) -> None:
    block = (0.1 * np.random.default_rng(0).standard_normal((2, HOP))).astype(np.float32)
    for _ in range(blocks):
        process(block)


def keeping_a_frame(process: Process) -> Process:
    kept = []

    def leaking(block: Audio) -> None:
        kept.append(np.ones(FRAME, np.float32))
        process(block)

    return leaking


def leaving_a_cycle(process: Process) -> Process:
    def leaking(block: Audio) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        process(block)

    return leaking


def traced_growth(process: Process, blocks: int) -> int:
    """Return by how many bytes grows what Python and NumPy hold."""
    tracemalloc.start()
    try:
        blocks_through(process, 100)
        before, _ = tracemalloc.get_traced_memory()
        blocks_through(process, blocks)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def left_to_collect(live: StreamSeparator, process: Process) -> int:
    """Return how many objects only the garbage collector can free."""
    blocks_through(process, 100)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            blocks_through(process, 100)
            live.flush()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("key", CAUSAL)
def test_what_python_holds_does_not_grow(key: str) -> None:
    assert traced_growth(stream_of(key).process, 300) < TRACED_BYTES


@pytest.mark.parametrize("key", CAUSAL)
def test_blocks_leave_no_cycles(key: str) -> None:
    live = stream_of(key)
    assert left_to_collect(live, live.process) == 0


def test_leaks_would_be_seen() -> None:
    live = stream_of("hs_tasnet")
    assert traced_growth(keeping_a_frame(live.process), 300) > 4 * TRACED_BYTES
    assert left_to_collect(live, leaving_a_cycle(live.process)) == 300


# In a process of its own: memory that others have freed would hide what is leaked.
RESIDENT = """
import importlib.util, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

process = memory.stream_of(sys.argv[2]).process
memory.blocks_through(process, 300)
for process in (process, memory.keeping_a_frame(process)):
    before = resident()
    memory.blocks_through(process, 1000)
    print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("key", ["deepsampler", "hs_tasnet"])
def test_what_the_process_holds_does_not_grow(key: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, __file__, key],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    growth, with_a_leak = map(int, done.stdout.split())
    assert growth < RESIDENT_BYTES
    assert with_a_leak > 2 * RESIDENT_BYTES

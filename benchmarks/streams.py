"""What `realtime.py` runs in processes of their own: `python streams.py TASK JSON`.

A task prints what it has found as JSON; only `hour` prints for people.
"""

import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from desmezcla.inference.stream_file import StreamPrecision
from desmezcla.live.priority import without_pauses

RATE = 44100
CHANNELS = 2
BLOCKS = (64, 128, 256, 512, 1024)
ENOUGH = 5000  # blocks, for a percentile of 99.9
WARM = 100  # blocks before anything is measured
LEAST_S = 10.0
DENORMAL = 1e-40

# Architecture and fields; the others are recipes.
FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "hs_tasnet": ("hs_tasnet", {}),
    "hs_tasnet_small": ("hs_tasnet", {"layers": 1, "summed": True}),
    "open_unmix": ("open_unmix", {"unidirectional": True, "wiener_iterations": 0}),
    "conv_tasnet": ("conv_tasnet", {"causal": True, "norm": "cumulative"}),
}
MODELS = ("deepsampler_quality", "deepsampler_tight", *FIELDS)
ENGINES: dict[str, StreamPrecision] = {
    "torch": "float32",
    "onnx": "float32",
    "onnx-int8": "int8",
}

Audio = NDArray[np.float32]


class Stream(Protocol):
    """What `StreamSeparator` and `OnnxStream` have in common."""

    @property
    def latency_samples(self) -> int: ...
    def process(self, block: Audio, /) -> Audio: ...


def build(name: str) -> Any:
    """Return a model with random weights."""
    import torch

    from desmezcla.models import build_model
    from desmezcla.training.recipes import read_recipe

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name in FIELDS:
        key, fields = FIELDS[name]
        return build_model(key, **fields).eval()
    recipe = read_recipe(name)
    return build_model(recipe.model.architecture, **recipe.config().model_dump()).eval()


def facts(model: str) -> dict[str, Any]:
    built = build(model)
    return {
        "parameters": sum(parameter.numel() for parameter in built.parameters()),
        "hop_samples": built.stream_core().framing.hop_samples,
    }


def export(model: str, engine: str, folder: str) -> dict[str, Any]:
    from desmezcla.exporting.stream import export_stream

    export_stream(build(model), _exported(model, engine, folder), precision=ENGINES[engine])
    return {}


def _exported(model: str, engine: str, folder: str) -> Path:
    return Path(folder) / f"{model}-{ENGINES[engine]}.onnx"


def open_stream(model: str, engine: str, folder: str) -> Stream:
    if engine == "torch":
        from desmezcla.inference.realtime import StreamSeparator

        separator: Stream = StreamSeparator(build(model))
        return separator
    from desmezcla.inference.onnx_stream import OnnxStream

    stream: Stream = OnnxStream(_exported(model, engine, folder))
    return stream


def row(model: str, engine: str, folder: str, block: int, blocks: int) -> dict[str, Any]:
    """Return what blocks of one size take, and how far the stems lag behind them."""
    stream = open_stream(model, engine, folder)
    sound = blocks_of(noise(4 * RATE), block)
    lag = sum(block - stream.process(now).shape[-1] for now in itertools.islice(sound, WARM))
    most_lag = lag
    # What is not through when the sound would be over does not keep up, and is not waited for.
    longest_s = max(LEAST_S, blocks * block / RATE)
    times = np.zeros(blocks)
    with without_pauses():
        reset_peak()
        memory = resident_mib()
        busy, began = time.process_time(), time.perf_counter()
        for count, now in enumerate(itertools.islice(sound, blocks), 1):
            start = time.perf_counter()
            stems = stream.process(now)
            end = time.perf_counter()
            times[count - 1] = end - start
            lag += block - stems.shape[-1]
            most_lag = max(most_lag, lag)
            if end - began > longest_s:
                break
        wall, busy = time.perf_counter() - began, time.process_time() - busy
        growth = resident_mib("VmHWM") - memory
    if busy > 1.1 * wall:
        raise SystemExit(f"{model} on {engine} used {busy / wall:.1f} cores, but is to have one")
    load = 100 * RATE / block * times[:count]
    return {
        "latency_samples": stream.latency_samples,
        "delay_samples": block + most_lag,
        "blocks": count,
        "mean_percent": load.mean(),
        "percentile_percent": np.quantile(load, 0.999) if count >= ENOUGH else None,
        "most_percent": load.max(),
        "taken_percent": 100 * max(0.0, 1 - busy / wall),
        "memory_mib": memory,
        "growth_mib": growth,
    }


def silence(model: str, engine: str, folder: str, seconds: float) -> dict[str, Any]:
    """Return what a block takes of noise, after silence, and of numbers near zero."""
    stream = open_stream(model, engine, folder)
    block = max(BLOCKS)  # a multiple of every hop, so that all blocks cost the same
    usual = noise(4 * RATE)
    loads = {}
    for name, sound, lasting_s in (
        ("noise", usual, LEAST_S),
        ("silence", np.zeros_like(usual), seconds),
        ("denormal", usual * np.float32(10 * DENORMAL), LEAST_S),
    ):
        times, began = [], time.perf_counter()
        for now in itertools.islice(blocks_of(sound, block), round(lasting_s * RATE / block)):
            start = time.perf_counter()
            stream.process(now)
            times.append(time.perf_counter() - start)
            if time.perf_counter() - began > lasting_s:
                break
        # The median of the last quarter: other programs may take some of the time.
        loads[f"{name}_percent"] = 100 * RATE / block * float(np.median(times[-len(times) // 4 :]))
    return loads


def hour(model: str, engine: str, folder: str, hop: int, minutes: float) -> None:
    """Let time pass, and print what memory is, and how far stems are from those of the start."""
    stream = open_stream(model, engine, folder)
    sound = noise(round(10 * RATE / hop) * hop)
    period = sound.shape[1] // hop
    kept: list[Audio] = []  # stems of the second period
    furthest, began, blocks = 0.0, time.perf_counter(), blocks_of(sound, hop)
    with without_pauses():
        for count in range(math.ceil(minutes * 60 * RATE / hop)):
            stems = stream.process(next(blocks))
            if period <= count < 2 * period:
                kept.append(stems.copy())
            elif count >= 2 * period:
                furthest = max(furthest, float(np.abs(stems - kept[count % period]).max()))
            before, passed = (int(n * hop / RATE) // 60 for n in (count, count + 1))
            if passed > before and (passed == 1 or passed % 10 == 0):
                minutes_taken = (time.perf_counter() - began) / 60
                print(
                    f"{passed} min, which took {minutes_taken:.1f}: {resident_mib():.1f} MiB, "
                    f"stems differ by at most {furthest:.2g}",
                    flush=True,
                )
                furthest = 0.0


def noise(samples: int) -> Audio:
    generator = np.random.default_rng(0)
    return (0.1 * generator.standard_normal((CHANNELS, samples))).astype(np.float32)


def blocks_of(sound: Audio, block: int) -> Iterator[Audio]:
    """Give the sound in blocks, again and again; what is left over at its end is not given."""
    while True:
        for start in range(0, sound.shape[1] - block + 1, block):
            yield sound[:, start : start + block]


def resident_mib(field: str = "VmRSS") -> float:
    """Return this process's resident memory, or with "VmHWM" its peak."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def reset_peak() -> None:
    """Let the peak of the memory be what it is now."""
    Path("/proc/self/clear_refs").write_text("5")


TASKS: dict[str, Callable[..., dict[str, Any] | None]] = {
    "facts": facts,
    "export": export,
    "row": row,
    "silence": silence,
    "hour": hour,
}

if __name__ == "__main__" and len(sys.argv) == 3:  # `make bench` runs every file, without a task
    found = TASKS[sys.argv[1]](**json.loads(sys.argv[2]))
    if found is not None:
        print(json.dumps(found))

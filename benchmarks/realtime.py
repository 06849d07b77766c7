"""Real time on one core: latency, compute and memory of every causal model, block by block.

A row is a model on an engine with blocks of one size, in a process of its own with one thread:
44.1 kHz, stereo, four stems. Weights are random, on which neither time nor memory depends. Blocks
come as fast as they are taken. The columns:

look-ahead: the algorithmic latency, `latency_samples`.
delay: of a host with such blocks, if computing took no time: the block, which has to be there
    before it can be separated, and what the stems then lag behind at most, as observed. Blocks in
    step with the frames need not wait for the whole look-ahead.
mean, 99.9 %, most: the time that a block takes, in percent of what it lasts. A block that completes
    no frame costs nearly nothing, and one that completes a frame costs all of it. So the mean says
    whether a model is fast enough at all; the others are against the deadline of a host that wants
    each block done before the next has come, over at least 5000 blocks ("too few" where a model is
    behind before). Blocks shorter than the hop miss it where a frame takes longer than such a block
    lasts, whatever the mean: their host has to give the model the time of several
    (`handoff_blocks` of a live session).
taken: the part of the time in which other programs had the core. Where this is much, 99.9 % and
    most tell of the machine, not of the model.
memory: resident memory of the whole process when warm, libraries and weights included.
growth: by how much more its peak was while the row was measured.

A second table has what a block takes after a minute of silence, when recurrent states may have
decayed to denormal numbers, with which processors are slow, and on sound of such numbers.

    python benchmarks/realtime.py [--models hs_tasnet …] [--engines torch …] [--seconds 10]
        [--json FILE] [--quick]
    python benchmarks/realtime.py --hour deepsampler_tight [--minutes 60]

The latter lets an hour pass, hop by hop, with noise that repeats itself every ten seconds. Memory
must stay as it is, and so must the stems once the model has forgotten the beginning; only where it
normalises over everything that it has heard, as Conv-TasNet does, they come closer and closer.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from streams import BLOCKS, DENORMAL, ENGINES, ENOUGH, MODELS, RATE

COLUMNS = (
    *("model", "parameters", "engine", "block", "look-ahead", "delay", "mean", "99.9 %", "most"),
    *("taken", "memory", "growth"),
)
PUBLISHED = {"model": "HS-TasNet as published (ICASSP 2024)", "delay": "23 ms"}
SILENCE_S = 60.0


def command(task: str, **arguments: Any) -> list[str]:
    return [
        sys.executable,
        str(Path(__file__).with_name("streams.py")),
        task,
        json.dumps(arguments),
    ]


def run(task: str, **arguments: Any) -> dict[str, Any]:
    """Run a task in a process of its own, and return what it has found."""
    done = subprocess.run(command(task, **arguments), stdout=subprocess.PIPE, env=one_thread())
    if done.returncode:
        raise SystemExit(f"{task} {arguments} failed with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def engines_here() -> list[str]:
    needed = ("onnx", "onnxscript", "onnxruntime")
    return list(ENGINES) if all(map(importlib.util.find_spec, needed)) else ["torch"]


def print_cells(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def print_row(row: dict[str, Any]) -> None:
    def lasting(samples: int) -> str:
        return f"{samples} = {1000 * samples / RATE:.1f} ms"

    percentile = row["percentile_percent"]
    print_cells(
        row["model"],
        f"{row['parameters'] / 1e6:.2f} M",
        row["engine"],
        f"{row['block']}",
        lasting(row["latency_samples"]),
        lasting(row["delay_samples"]),
        f"{row['mean_percent']:.1f} %",
        "too few" if percentile is None else f"{percentile:.0f} %",
        f"{row['most_percent']:.0f} %",
        f"{row['taken_percent']:.0f} %",
        f"{row['memory_mib']:.0f} MiB",
        f"{row['growth_mib']:.1f} MiB",
    )


def print_head(*columns: str) -> None:
    print_cells(*columns)
    print_cells(*["---"] * len(columns))


def compare(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Print both tables, and return what they are made of."""
    rows, silences = [], []
    print_head(*COLUMNS)
    print_cells(*(PUBLISHED.get(column, "") for column in COLUMNS))
    for model in options.models:
        known = run("facts", model=model)
        for engine in options.engines:
            which = {"model": model, "engine": engine}
            if engine != "torch":
                run("export", **which, folder=folder)
            for block in sorted({known["hop_samples"], *BLOCKS}):
                lasting = int(options.seconds * RATE) // block
                blocks = 200 if options.quick else max(ENOUGH, lasting)
                found = run("row", **which, folder=folder, block=block, blocks=blocks)
                rows.append({**which, **known, "block": block, **found})
                print_row(rows[-1])
            seconds = 8.0 if options.quick else SILENCE_S
            found = run("silence", **which, folder=folder, seconds=seconds)
            silences.append({**which, **found})
    print(f"\nBlocks of {max(BLOCKS)}, medians:\n")
    print_head("model", "engine", "noise", "after silence", f"noise of {DENORMAL:g}")
    for found in silences:
        loads = [f"{found[f'{key}_percent']:.1f} %" for key in ("noise", "silence", "denormal")]
        print_cells(found["model"], found["engine"], *loads)
    return {"rows": rows, "silence": silences}


def let_pass(model: str, engine: str, minutes: float, folder: str) -> int:
    """Let a model run for so long; return the status."""
    hop = run("facts", model=model)["hop_samples"]
    which = {"model": model, "engine": engine, "folder": folder}
    if engine != "torch":
        run("export", **which)
    return subprocess.call(command("hour", **which, hop=hop, minutes=minutes), env=one_thread())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=engines_here())
    parser.add_argument("--seconds", type=float, default=10.0, help="of sound in a row, at least")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--quick", action="store_true", help="few blocks, and no percentiles")
    parser.add_argument("--hour", choices=MODELS, help="let an hour pass, on the first engine")
    parser.add_argument("--minutes", type=float, default=60.0, help="that the hour has")
    options = parser.parse_args()
    if sys.platform != "linux":
        raise SystemExit("memory is read from /proc, which only Linux has")
    with tempfile.TemporaryDirectory() as folder:
        if options.hour:
            sys.exit(let_pass(options.hour, options.engines[0], options.minutes, folder))
        result = compare(options, folder)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

"""`desmezcla batch` on a cluster that loses a node, and how throughput grows with workers.

    python benchmarks/cluster.py [--tracks 200] [--runs 3] [--model default] [--seconds 60]

First, a Ray cluster of two nodes on this machine separates short tracks, one of which is corrupt,
while one of the nodes is killed; the stems are compared with those of a run without a cluster.
Then workers with one thread each, one and two of them by turns, separate longer songs: the ratio of
their throughputs, and what a million songs of four minutes would cost. Throughput leaves out what
starting takes, and needs a machine with nothing else to do: `cores_used` tells whether it had. The
cost is that of the processor's time, start included, which other programs hardly change.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import soundfile

from desmezcla.batch.batching import run_batch
from desmezcla.batch.engines import Engine
from desmezcla.batch.track import BatchJob
from desmezcla.inference.outputs import output_options

RATE = 44100
SONG_S = 240.0  # of those that a million is reckoned of
MILLION = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tracks", type=int, default=200, help="0 leaves the cluster out")
    parser.add_argument("--runs", type=int, default=3, help="0 leaves the throughput out")
    parser.add_argument("--model", default="default")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        if options.tracks:
            with contextlib.redirect_stdout(sys.stderr):  # Ray tells of the node that was killed
                found["cluster"] = of_cluster(Path(name, "cluster"), options.tracks)
        if options.runs:
            music = write_music(Path(name, "music"), options.songs, options.seconds)
            found["throughput"] = of_workers(music, options.model, options.runs)
    print(json.dumps(found, indent=2))


def of_cluster(folder: Path, tracks: int) -> dict[str, Any]:
    """Separate on a cluster that loses a node, and compare with a run on this machine alone."""
    import ray
    from ray.cluster_utils import Cluster

    music = write_music(folder / "music", tracks, 1.0)
    bad = music / f"song{tracks // 3}.wav"
    bad.write_bytes(b"no music at all")
    here, out = folder / "here", folder / "out"
    local = Engine(jobs=os.cpu_count())
    run_batch(BatchJob("baseline", str(here)), str(music), lambda event: None, engine=local)

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": health}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ends: Counter[str] = Counter()
    killed_after: list[int] = []
    try:
        second = cluster.add_node(num_cpus=1)

        def report(event: dict[str, Any]) -> None:
            ends[event["input"]] += event["event"] in ("file", "error")
            half_way = len([e for e in ends.values() if e]) >= tracks // 3
            if event["event"] == "progress" and half_way and not killed_after:
                killed_after.append(sum(ends.values()))
                cluster.remove_node(second, allow_graceful=False)

        start_s = time.monotonic()
        engine = Engine("ray", address=cluster.address)
        done, failed = run_batch(BatchJob("baseline", str(out)), str(music), report, engine=engine)
        spent_s = time.monotonic() - start_s
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    (ledger,) = (out / "ledger").glob("*.parquet")
    rows = parquet.read_table(ledger).to_pylist()
    return {
        "done": done,
        "failed": failed,
        "failed_tracks": [row["track"] for row in rows if row["state"] == "failed"],
        "node_killed_after_tracks": killed_after[0],
        "ended_twice": sum(number > 1 for number in ends.values()),
        "tried_again": sum(row["attempts"] > 1 for row in rows),
        "nodes": dict(Counter(row["worker"].split("/")[1] for row in rows)),
        "files": len(stems(out)),
        "equal_to_one_machine": stems(out) == stems(here),
        "seconds": round(spent_s, 1),
    }


def of_workers(music: Path, model: str, runs: int) -> dict[str, Any]:
    """Let one worker and two take turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    bytes_per_s: list[float] = []
    cpu: dict[int, list[float]] = {1: [], 2: []}
    cores: dict[int, list[float]] = {1: [], 2: []}
    audio_s = sum(soundfile.info(path).duration for path in music.iterdir())
    for run in range(runs):
        for workers, found in rates.items():
            with tempfile.TemporaryDirectory() as out:
                cpu_s, start_s = children_cpu_s(), time.monotonic()
                spent_s = timed(music, model, Path(out), workers)
                cpu_s = children_cpu_s() - cpu_s
                cpu[workers].append(cpu_s / audio_s)
                cores[workers].append(cpu_s / (time.monotonic() - start_s))
                found.append(audio_s / spent_s)
                size = sum(p.stat().st_size for p in Path(out).rglob("*.flac"))
                bytes_per_s.append(size / audio_s)
            print(f"run {run}: {workers} worker(s), {found[-1]:.2f} s/s", file=sys.stderr)
    medians = {workers: statistics.median(found) for workers, found in rates.items()}
    core_s = SONG_S * statistics.median(cpu[1])
    return {
        "model": model,
        "audio_seconds_per_second": {str(w): round(rate, 2) for w, rate in medians.items()},
        "ratio": round(
            statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True)), 3
        ),
        "cores_used": {str(w): round(statistics.median(used), 2) for w, used in cores.items()},
        "core_seconds_per_audio_second": {
            str(w): round(statistics.median(spent), 4) for w, spent in cpu.items()
        },
        "million_songs_of_240_s": {
            "core_seconds_each": round(core_s, 2),
            "core_hours": round(core_s * MILLION / 3600),
            "days_on_1000_cores": round(core_s * MILLION / 86400 / 1000, 2),
            "terabytes_of_flac_from_noise_as_upper_bound": round(
                statistics.median(bytes_per_s) * SONG_S * MILLION / 1e12, 1
            ),
        },
    }


def children_cpu_s() -> float:
    """Return the processor's time that worker processes which have ended took, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(music: Path, model: str, out: Path, workers: int) -> float:
    """Return the seconds from the first track's beginning to the last one's end."""
    times: list[float] = []

    def report(event: dict[str, Any]) -> None:
        if event["input"] != str(out) and event["event"] in ("start", "file"):
            times.append(time.monotonic())
        assert event["event"] != "error", event

    job = BatchJob(model, str(out), output=output_options(format="flac"))
    run_batch(job, str(music), report, engine=Engine(jobs=workers))
    return times[-1] - times[0]


def write_music(folder: Path, songs: int, seconds: float) -> Path:
    """Write songs of noise, each another one."""
    folder.mkdir(parents=True)
    for seed in range(songs):
        audio = np.random.default_rng(seed).uniform(-0.3, 0.3, (round(seconds * RATE), 2))
        soundfile.write(folder / f"song{seed}.wav", audio, RATE, subtype="PCM_16")
    return folder


def stems(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.relative_to(out).parts[0] != "ledger"
    }


if __name__ == "__main__":
    main()

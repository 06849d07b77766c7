"""BSS Eval v4 of a whole song: desmezcla beside museval, in one run.

Both score the same stems of a rendered song, four stereo stems in float32 files, in a process of
its own, with frames of one second and filters of 512 samples. The time is that of the scores alone,
the memory that of the whole process with the audio in it.

    python benchmarks/bss_eval.py [--minutes 4] [--device cpu] [--without-peer]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from desmezcla.datasets.demo.song import render_song

RATE = 44100
STEMS = ("vocals", "drums", "bass", "other")

OURS = """
import sys, time
import numpy as np, torch
from desmezcla import evaluate
folder, device = sys.argv[1:]
names = ["vocals", "drums", "bass", "other"]
audio = [{n: np.load(f"{folder}/{kind}-{n}.npy") for n in names} for kind in ("true", "estimate")]
if device != "cpu":
    torch.linalg.cholesky(torch.eye(2, device=device, dtype=torch.float64))  # starts its libraries
start = time.perf_counter()
scores = evaluate(*audio, 44100, device=device)
print(time.perf_counter() - start)
np.save(f"{folder}/ours.npy", [[scores[n][m] for n in names] for m in ("SDR", "ISR", "SIR", "SAR")])
"""

# The whole of memory as doubles, [S, T, C], is what museval takes. It imports musdb, for whole
# datasets only, and that wants an ffmpeg program.
PEER = """
import sys, time, types
import numpy as np
sys.modules["musdb"] = types.ModuleType("musdb")
import museval
folder = sys.argv[1]
names = ["vocals", "drums", "bass", "other"]
true, estimates = (
    np.stack([np.load(f"{folder}/{kind}-{n}.npy").T for n in names])
    for kind in ("true", "estimate")
)
start = time.perf_counter()
scores = museval.evaluate(true, estimates, win=44100, hop=44100)
print(time.perf_counter() - start)
np.save(f"{folder}/peer.npy", scores)
"""


def run(code: str, *arguments: str) -> dict[str, float]:
    """Run a program; return the seconds it prints, those of all of it, and its peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    scoring_s = float(process.stdout.read() or 0)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"a program failed with status {status}")
    return {
        "scoring_s": round(scoring_s, 2),
        "process_s": round(time.perf_counter() - start, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def write_song(folder: Path, minutes: float) -> None:
    """Write true stems, and estimates with leakage, a delay and noise."""
    samples = round(minutes * 60 * RATE)
    parts = [render_song(seed=seed, duration_s=30.0) for seed in range(int(np.ceil(minutes * 2)))]
    true = {
        stem: np.concatenate([part[stem] for part in parts], axis=1)[:, :samples] for stem in STEMS
    }
    del parts
    mixture = np.sum(list(true.values()), axis=0)
    rng = np.random.default_rng(0)
    for stem, audio in true.items():
        noise = 1e-3 * rng.standard_normal(audio.shape, np.float32)
        estimate = 0.7 * np.roll(audio, 2, axis=1) + 0.1 * mixture + noise
        np.save(folder / f"true-{stem}.npy", audio.astype(np.float32))
        np.save(folder / f"estimate-{stem}.npy", estimate.astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-peer", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_song(folder, arguments.minutes)
        result: dict[str, object] = {"minutes": arguments.minutes, "device": arguments.device}
        ours = run(OURS, name, arguments.device)
        result["desmezcla"] = ours
        if not arguments.without_peer:
            peer = run(PEER, name)
            difference = np.abs(np.load(folder / "ours.npy") - np.load(folder / "peer.npy"))
            result["museval"] = peer
            result["times_as_fast"] = round(peer["scoring_s"] / ours["scoring_s"], 1)
            result["largest_difference_db"] = dict(
                zip(("SDR", "ISR", "SIR", "SAR"), np.nanmax(difference, axis=(1, 2)), strict=True)
            )
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

"""Whole Open-Unmix separations: desmezcla beside the `openunmix` package, in one run.

Both separate the same file with the same random weights (the size of umxhq, one EM iteration) and
write four WAV files, each in a process of its own; the peer gets the file by soundfile. The
programs take turns, and ratios are of neighbouring runs.

    python benchmarks/open_unmix.py [--seconds 180] [--runs 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from desmezcla.datasets.demo.song import render_song

TARGETS = ("vocals", "drums", "bass", "other")
RATE = 44100

# Runs in the peer's process. Of torchaudio, which the package imports, nothing here is called.
PEER = """
import sys, time, types
start = time.perf_counter()
sys.modules["torchaudio"] = types.ModuleType("torchaudio")
import soundfile, torch
from openunmix import utils
folder, song, out = sys.argv[1:]
targets = ["vocals", "drums", "bass", "other"]
separator = utils.load_separator(folder, targets=targets, niter=1)
separator.freeze()
loaded = time.perf_counter()
audio, rate = soundfile.read(song, dtype="float32", always_2d=True)
with torch.no_grad():
    stems = separator.to_dict(separator(torch.from_numpy(audio.T.copy())[None]))
for name, stem in stems.items():
    soundfile.write(f"{out}/{name}.wav", stem[0].numpy().T, rate, subtype="FLOAT")
print(time.perf_counter() - start, time.perf_counter() - loaded)
"""

OURS = """
import sys, time
start = time.perf_counter()
from desmezcla import Separator
song, out, segment, precision = sys.argv[1:]
separator = Separator("bench", segment=None if segment == "default" else segment,
                      precision=precision)
loaded = time.perf_counter()
separator.separate_file(song, out, filename="{stem}.{ext}", bit_depth="32f")
print(time.perf_counter() - start, time.perf_counter() - loaded)
"""

CHECKPOINT = """
import json, sys, types
from pathlib import Path
sys.modules["torchaudio"] = types.ModuleType("torchaudio")
import torch
from openunmix import model, utils
folder = Path(sys.argv[1])
torch.manual_seed(0)
settings = {"nfft": 4096, "nhop": 1024, "sample_rate": 44100.0, "nb_channels": 2}
(folder / "separator.json").write_text(json.dumps(settings))
bins = int(utils.bandwidth_to_max_bin(44100, 4096, 16000))
for name in ("vocals", "drums", "bass", "other"):
    network = model.OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=bins)
    utils.save_checkpoint({"state_dict": network.state_dict()}, True, str(folder), name)
    arguments = {"target": name, "hidden_size": 512, "bandwidth": 16000, **settings}
    (folder / f"{name}.json").write_text(json.dumps({"args": arguments}))
"""


def run(code: str, *arguments: str, **environment: str) -> dict[str, float]:
    """Run a program; return its times and its peak memory.

    `song_s` is reading, separating and writing; `program_s` has imports and loading, too, and
    `process_s` also the start of Python.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )
    assert process.stdout is not None
    program_s, song_s = map(float, process.stdout.read().split() or (0, 0))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"a program failed with status {status}")
    return {
        "program_s": program_s,
        "song_s": song_s,
        "process_s": time.perf_counter() - start,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def agreement_db(ours: Path, theirs: Path) -> float:
    """Return the least signal-to-difference ratio of the stems."""
    ratios = []
    for stem in TARGETS:
        a = soundfile.read(ours / f"{stem}.wav", dtype="float64")[0]
        b = soundfile.read(theirs / f"{stem}.wav", dtype="float64")[0]
        ratios.append(10 * np.log10(np.sum(b**2) / max(np.sum((a - b) ** 2), 1e-30)))
    return float(min(ratios))


def write_song(path: Path, seconds: float) -> None:
    """Write a rendered song, repeated to the length wanted."""
    mixture = np.sum(list(render_song(seed=1, duration_s=30.0).values()), axis=0)
    repeats = int(np.ceil(seconds / 30))
    samples = np.tile(mixture, repeats)[:, : round(seconds * RATE)]
    soundfile.write(path, samples.T, RATE, subtype="PCM_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", help="measure one variant, for example track")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, song = folder / "weights", folder / "song.wav"
        weights.mkdir()
        home = str(folder / "home")
        run(CHECKPOINT, str(weights))
        subprocess.run(
            [sys.executable, "-m", "desmezcla", "models", "import", weights, "--name", "bench"],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"DESMEZCLA_HOME": home},
        )
        write_song(song, arguments.seconds)
        variants = {
            "track": ("track", "float32", "1"),
            "track, buffers given back": ("track", "float32", "0"),
            "track, bfloat16": ("track", "bfloat16", "1"),
            "default segments": ("default", "float32", "1"),
            "default segments, bfloat16": ("default", "bfloat16", "1"),
        }
        results: dict[str, list[dict[str, float]]] = {}
        for _ in range(arguments.runs):
            for label, (segment, precision, keep) in variants.items():
                if arguments.only not in (None, label):
                    continue
                out = {who: folder / who for who in ("peer", label)}
                for path in out.values():
                    path.mkdir(exist_ok=True)
                peer = run(PEER, str(weights), str(song), str(out["peer"]))
                ours = run(
                    OURS,
                    str(song),
                    str(out[label]),
                    segment,
                    precision,
                    DESMEZCLA_HOME=home,
                    DESMEZCLA_KEEP_BUFFERS=keep,
                )
                for key in ("program_s", "song_s"):
                    ours[f"{key}_ratio"] = peer[key] / ours[key]
                ours["agreement_db"] = agreement_db(out[label], out["peer"])
                results.setdefault("openunmix", []).append(peer)
                results.setdefault(label, []).append(ours)
        summary = {
            label: {key: round(statistics.median(r[key] for r in rows), 2) for key in rows[0]}
            for label, rows in results.items()
        }
        print(json.dumps({"seconds": arguments.seconds, "medians": summary}, indent=2))


if __name__ == "__main__":
    main()

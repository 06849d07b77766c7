"""The releases of the package from file to files, beside the `openunmix` package, in one run.

`desmezcla separate` takes an MP3 file and writes four FLAC files, as a user would have it do, start
of Python included; the peer, with random weights of umxhq's size, reads WAV and writes WAV. The
programs take turns, and ratios are of neighbouring runs.

    python benchmarks/releases.py [--seconds 240] [--runs 3] [--models default realtime baseline]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import soundfile
from open_unmix import CHECKPOINT, PEER
from side_by_side import medians, run, write_song

from desmezcla.audio.writer import AudioWriter

OURS = """
import sys, time
start = time.perf_counter()
from desmezcla.cli import main
model, song, out = sys.argv[1:]
sys.argv = ["desmezcla", "separate", song, "-m", model, "-o", out, "--flac", "--quiet"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(time.perf_counter() - start, 0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["default", "realtime", "baseline"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, song, coded = folder / "weights", folder / "song.wav", folder / "song.mp3"
        weights.mkdir()
        (folder / "peer").mkdir()
        run(CHECKPOINT, str(weights))
        write_song(song, options.seconds)
        write_mp3(song, coded)
        results: dict[str, list[dict[str, float]]] = {"openunmix": []}
        for _ in range(options.runs):
            peer = run(PEER, str(weights), str(song), str(folder / "peer"))
            results["openunmix"].append(figures(peer, peer, options.seconds))
            for model in options.models:
                ours = run(OURS, model, str(coded), str(folder / "ours"))
                results.setdefault(model, []).append(figures(ours, peer, options.seconds))
                print(model, ours, file=sys.stderr)
        print(json.dumps({"seconds": options.seconds, "medians": medians(results)}, indent=2))


def figures(found: dict[str, float], peer: dict[str, float], seconds: float) -> dict[str, float]:
    """Return the time of a whole program, how many times real time that is, and the memory."""
    return {
        "process_s": found["process_s"],
        "times_real_time": seconds / found["process_s"],
        "times_the_peer": peer["process_s"] / found["process_s"],
        "peak_mib": found["peak_mib"],
    }


def write_mp3(song: Path, coded: Path) -> None:
    audio, rate = soundfile.read(song, dtype="float32", always_2d=True)
    with AudioWriter(coded, sample_rate=rate, channels=audio.shape[1]) as writer:
        writer.write(audio.T)


if __name__ == "__main__":
    main()

"""Hybrid Transformer Demucs on the processor: desmezcla beside the `demucs` package, in one run.

Both separate the same file with the same random weights (the sizes of the published `htdemucs`)
and write four WAV files, each in a process of its own. The programs take turns, and ratios are of
neighbouring runs. Then desmezcla separates songs of two lengths, to see that memory does not grow.

    python benchmarks/ht_demucs.py [--seconds 60] [--runs 3] [--long 240]
"""

import argparse
import json
import tempfile
from pathlib import Path

from side_by_side import agreement, import_checkpoint, medians, ratios, run, write_song

STEMS = ("vocals", "drums", "bass", "other")

# Packages as demucs publishes them: a class, its arguments, its weights.
CHECKPOINT = """
import sys, torch
from fractions import Fraction
from demucs.htdemucs import HTDemucs
path, scale = sys.argv[1], float(sys.argv[2])
torch.manual_seed(0)
sources = ["drums", "bass", "other", "vocals"]
kwargs = dict(bottom_channels=512, dconv_mode=3, t_dropout=0.02, segment=Fraction(39, 5),
              samplerate=44100)
model = HTDemucs(sources, **kwargs)
if scale:  # as after training, when the residual branches count
    for name, parameter in model.named_parameters():
        if name.endswith("scale"):
            torch.nn.init.uniform_(parameter, 0, 2 * scale)
torch.save({"klass": HTDemucs, "args": (sources,), "kwargs": kwargs,
            "state": model.state_dict(), "training_args": {}}, path)
"""

PEER = """
import sys, time
start = time.perf_counter()
import soundfile, torch
from demucs.apply import apply_model
package, song, out = sys.argv[1:]
package = torch.load(package, weights_only=False)
model = package["klass"](*package["args"], **package["kwargs"])
model.load_state_dict(package["state"])
model.eval()
loaded = time.perf_counter()
audio, rate = soundfile.read(song, dtype="float32", always_2d=True)
mix = torch.from_numpy(audio.T.copy())
middle = mix.mean(0)
mix = (mix - middle.mean()) / middle.std()
stems = apply_model(model, mix[None], shifts=0, split=True, overlap=0.25)[0]
stems = stems * middle.std() + middle.mean()
for name, stem in zip(model.sources, stems):
    soundfile.write(f"{out}/{name}.wav", stem.numpy().T, rate, subtype="FLOAT")
print(time.perf_counter() - start, time.perf_counter() - loaded)
"""

OURS = """
import sys, time
start = time.perf_counter()
from desmezcla import Separator
song, out, precision = sys.argv[1:]
separator = Separator("bench", precision=precision)
loaded = time.perf_counter()
separator.separate_file(song, out, filename="{stem}.{ext}", bit_depth="32f")
print(time.perf_counter() - start, time.perf_counter() - loaded)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--long", type=float, default=240, help="the longer song, seconds")
    parser.add_argument("--scale", type=float, default=0.0, help="mean of all layer scales")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home, package, song = str(folder / "home"), folder / "bench.th", folder / "song.wav"
        run(CHECKPOINT, str(package), str(arguments.scale))
        import_checkpoint(package, home)
        write_song(song, arguments.seconds)
        results: dict[str, list[dict[str, float]]] = {}
        for _ in range(arguments.runs):
            for precision in ("float32", "bfloat16"):
                out = {who: folder / who for who in ("demucs", precision)}
                for path in out.values():
                    path.mkdir(exist_ok=True)
                peer = run(PEER, str(package), str(song), str(out["demucs"]))
                ours = separate(song, out[precision], precision, home)
                ours |= ratios(ours, peer) | agreement(out[precision], out["demucs"], STEMS)
                results.setdefault("demucs", []).append(peer)
                results.setdefault(precision, []).append(ours)
        found = medians(results)
        write_song(song, arguments.long)
        longer = separate(song, folder / "float32", "float32", home)
        memory = {
            f"{arguments.seconds:g} s": found["float32"]["peak_mib"],
            f"{arguments.long:g} s": round(longer["peak_mib"]),
        }
        report = {"seconds": arguments.seconds, "medians": found, "peak_mib": memory}
        print(json.dumps(report, indent=2))


def separate(song: Path, out: Path, precision: str, home: str) -> dict[str, float]:
    """Separate a song in a process of its own."""
    return run(OURS, str(song), str(out), precision, DESMEZCLA_HOME=home)


if __name__ == "__main__":
    main()

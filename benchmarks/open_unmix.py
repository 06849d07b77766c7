"""Whole Open-Unmix separations: desmezcla beside the `openunmix` package, in one run.

Both separate the same file with the same random weights (the size of umxhq, one EM iteration) and
write four WAV files, each in a process of its own; the peer gets the file by soundfile. The
programs take turns, and ratios are of neighbouring runs.

    python benchmarks/open_unmix.py [--seconds 180] [--runs 3]
"""

import argparse
import json
import tempfile
from pathlib import Path

from side_by_side import agreement, import_checkpoint, medians, ratios, run, write_song

TARGETS = ("vocals", "drums", "bass", "other")

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
        import_checkpoint(weights, home)
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
                ours |= ratios(ours, peer) | agreement(out[label], out["peer"], TARGETS)
                results.setdefault("openunmix", []).append(peer)
                results.setdefault(label, []).append(ours)
        found = {"seconds": arguments.seconds, "medians": medians(results)}
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

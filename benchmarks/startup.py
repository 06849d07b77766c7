"""How long programs take to say hello: desmezcla beside its peers, in one run.

Each command runs in turns with the others; the first round only fills the disk's cache. A peer that
cannot be imported here is named with the reason.

    python benchmarks/startup.py [--runs 5]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Of these nothing is called: torchaudio is imported by two of the peers, and musdb by museval, for
# whole datasets only (it wants an ffmpeg program).
_PEER = (
    "import sys, types; sys.modules |= {{n: types.ModuleType(n) for n in ('torchaudio', 'musdb')}};"
    "import {}"
)
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "desmezcla --help": [str(Path(sys.executable).with_name("desmezcla")), "--help"],
    "import desmezcla": [sys.executable, "-c", "import desmezcla"],
    "import openunmix": [sys.executable, "-c", _PEER.format("openunmix")],
    "import demucs.separate": [sys.executable, "-c", _PEER.format("demucs.separate")],
    "import audio_separator.separator": [
        *(sys.executable, "-c", _PEER.format("audio_separator.separator")),
    ],
    "import museval": [sys.executable, "-W", "ignore", "-c", _PEER.format("museval")],
}


def seconds(command: list[str]) -> float | str:
    """Return how long a command takes, or the last line of why it fails."""
    start_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken_s = time.perf_counter() - start_s
    return taken_s if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    rounds = [
        {name: seconds(command) for name, command in COMMANDS.items()} for _ in range(runs + 1)
    ]
    found = {}
    for name in COMMANDS:
        times = [one[name] for one in rounds[1:]]
        numbers = [one for one in times if isinstance(one, float)]
        found[name] = round(statistics.median(numbers), 3) if len(numbers) == runs else times[-1]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

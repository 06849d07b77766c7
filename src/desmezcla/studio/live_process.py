"""What separates for a live tab: a process of its own, so that the web process computes nothing.

`python -m desmezcla.studio.live_process` reads messages from standard input and answers on standard
output. A message is its kind (a byte), its length (4 bytes, little-endian) and its content: `j`
for JSON, `a` for audio (float32, little-endian, `[n, C]`). The first is JSON with `model`,
`sample_rate`, `channels` and `gains`; the answer says the stems and the latency. After that, audio
is answered with audio, mixed of the stems, and JSON sets gains.
"""

import json
import signal
import struct
import sys
from typing import IO, Any

import numpy as np

from desmezcla.errors import DesmezclaError
from desmezcla.live.mixer import Mixer

HEADER = struct.Struct("<cI")
MOST_BYTES = 1 << 20


def write_message(file: IO[bytes], kind: bytes, content: bytes) -> None:
    """Write a message."""
    file.write(HEADER.pack(kind, len(content)) + content)
    file.flush()


def read_message(file: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Read a message; None at the end."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    return kind, file.read(length)


def run(given: IO[bytes], out: IO[bytes]) -> None:
    """Separate until the end of what is given."""
    # Deferred: it imports torch, which takes a while.
    from desmezcla.inference.realtime import StreamSeparator

    start = _json(read_message(given))
    if start is None:
        return
    stream = StreamSeparator(
        start["model"], sample_rate=start["sample_rate"], channels=start["channels"]
    )
    mixer = Mixer(stream.stems, stream.sample_rate, start.get("gains"))
    facts = {
        "stems": stream.stems,
        "sample_rate": stream.sample_rate,
        "channels": stream.channels,
        "latency_samples": stream.latency_samples,
        "engine": stream.engine,
    }
    write_message(out, b"j", json.dumps(facts).encode())
    while (message := read_message(given)) is not None:
        kind, content = message
        if kind == b"j":
            for stem, gain in json.loads(content)["gains"].items():
                mixer.set_gain(stem, gain)
            continue
        block = np.frombuffer(content, "<f4").reshape(-1, stream.channels).T
        mixed = mixer.mix(stream.process(np.ascontiguousarray(block, np.float32)))
        write_message(out, b"a", np.ascontiguousarray(mixed.T, "<f4").tobytes())


def _json(message: tuple[bytes, bytes] | None) -> dict[str, Any] | None:
    return None if message is None else dict(json.loads(message[1]))


def main() -> None:
    """Run on standard input and output; what is wrong is the last message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its input
    given, out = sys.stdin.buffer, sys.stdout.buffer
    try:
        run(given, out)
    except DesmezclaError as error:
        write_message(out, b"j", json.dumps({"error": str(error)}).encode())


if __name__ == "__main__":
    main()

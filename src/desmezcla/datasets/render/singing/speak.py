"""A program of its own: reads what to say from standard input, writes the sound to its output.

eSpeak NG keeps the state of its noise from one line to the next, and nothing resets it; only in a
fresh process does it say the same line alike twice. It imports nothing but ctypes and json, so
that it starts in some 50 ms.
"""

import ctypes
import json
import sys

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h
_CHARS_UTF8 = 1
_PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}  # espeakRATE, espeakPITCH, espeakRANGE
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def main() -> int:
    """Say each line; write the sample rate, then the length and the 16-bit sound of each line."""
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, request["data"].encode(), 0)
    if sample_rate <= 0 or library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return 1
    heard: list[bytes] = []

    def receive(samples: object, count: int, _: object) -> int:
        if samples and count > 0:
            heard.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        return 0

    callback = _CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)
    for name, number in _PARAMETERS.items():
        library.espeak_SetParameter(number, request[name], 0)
    sys.stdout.buffer.write(sample_rate.to_bytes(4, "little"))
    for line in request["lines"]:
        heard.clear()
        words = line.encode()
        library.espeak_Synth(words, len(words) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        library.espeak_Synchronize()
        sound = b"".join(heard)
        sys.stdout.buffer.write(len(sound).to_bytes(4, "little") + sound)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

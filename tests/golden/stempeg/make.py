"""Write what stempeg reads from the stem file that it brings along, through an `ffmpeg` program.

Run once, where `stempeg`, `ffmpeg-python` and `ffmpeg` are installed:

    python tests/golden/stempeg/make.py

The numbers in the repository are from stempeg 0.2.6 and FFmpeg 5.1.9.
"""

import json
from pathlib import Path

import numpy as np
import stempeg

STREAMS = ("mixture", "drums", "bass", "other", "vocals")
PLACES = 120


def main() -> None:
    (path,) = (Path(stempeg.__file__).parent / "data").glob("*.stem.mp4")
    audio, sample_rate = stempeg.read_stems(str(path), ffmpeg_format="f32le")
    audio = audio.astype(np.float32)  # [S, T, C], as they were decoded
    places = np.linspace(0, audio.shape[1] - 1, PLACES).astype(int)
    golden = {
        "file": path.name,
        "sample_rate": sample_rate,
        "length_samples": audio.shape[1],
        "places": places.tolist(),
        "streams": {
            stream: {
                "sum": float(samples.sum(dtype=np.float64)),
                "energy": float(np.square(samples, dtype=np.float64).sum()),
                "samples": [[float(f"{x:.9g}") for x in row] for row in samples[places].T],
            }
            for stream, samples in zip(STREAMS, audio, strict=True)
        },
    }
    text = json.dumps(golden)
    Path(__file__).with_name("falcon69.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

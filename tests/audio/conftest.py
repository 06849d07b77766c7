from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Audio = NDArray[np.float32]
MakeMusic = Callable[..., Audio]
Encode = Callable[..., Path]


@pytest.fixture(scope="session")
def music() -> MakeMusic:
    """Return a function that makes audio `[C, T]` below full scale, different in each channel."""

    def make(channels: int, samples: int, *, sample_rate: int = 44100, seed: int = 0) -> Audio:
        rng = np.random.default_rng(seed)
        time_s = np.arange(samples) / sample_rate
        partials = [
            # The fourth channel of six is a subwoofer's in some formats, which keep only the bass.
            0.3 * np.sin(2 * np.pi * (50 + 45 * (c % 4 != 3) * (c + 2)) * time_s + c)
            + 0.2 * np.sin(2 * np.pi * (40 + 30 * (c % 4 != 3) * (c + 1)) * time_s)
            for c in range(channels)
        ]
        noise = 0.001 * rng.standard_normal((channels, samples))
        return (np.stack(partials) + noise).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Return a function that writes a file with FFmpeg directly, as other programs do."""

    def write(
        path: Path,
        audio: Audio,
        *,
        muxer: str,
        codec: str,
        sample_rate: int = 44100,
        options: dict[str, str] | None = None,
        picture: bool = False,
    ) -> Path:
        layout = "mono" if len(audio) == 1 else "stereo"
        with av.open(str(path), "w", format=muxer, container_options=options or {}) as container:
            if picture:
                video = container.add_stream("mpeg4", rate=25)
                video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
            stream = container.add_stream(codec, rate=sample_rate)
            stream.layout = layout
            if picture:
                for _ in range(5):
                    container.mux(video.encode(av.VideoFrame(16, 16, "yuv420p")))
                container.mux(video.encode(None))
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(audio.T).reshape(1, -1), format="flt", layout=layout
            )
            frame.sample_rate, frame.pts = sample_rate, 0
            frame.time_base = Fraction(1, sample_rate)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write

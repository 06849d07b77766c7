"""MIR-1K: 1000 clips of amateur singers over karaoke accompaniment, at 16 kHz.

Hsu and Jang, "On the improvement of singing voice separation for monaural recordings using the
MIR-1K dataset", IEEE TASLP 2010.
"""

from pathlib import Path

from desmezcla.datasets import layout
from desmezcla.datasets.track import Dataset, Source, Track

FOLDER = "Wavfile"

_ACCOMPANIMENT, _VOICE = 0, 1


def read_mir1k(root: Path) -> Dataset:
    """Read `Wavfile/*.wav`: the accompaniment is on the left channel, the voice on the right.

    The song is the sum of both. The dataset states no splits: all clips are for training.

    Errors:
        DatasetError: if there is no track.
    """
    tracks = [
        Track(
            path.stem,
            {
                "vocals": (Source(path, channel=_VOICE),),
                "accompaniment": (Source(path, channel=_ACCOMPANIMENT),),
            },
        )
        for path in layout.audio_files(root / FOLDER)
        if path.suffix.lower() == ".wav"
    ]
    return layout.dataset_of("mir1k", root, tracks, [])

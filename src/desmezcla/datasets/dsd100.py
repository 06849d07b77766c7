"""DSD100: mixtures and sources in folders apart, a development and a test part.

Liutkus et al., "The 2016 Signal Separation Evaluation Campaign", LVA/ICA 2017.
"""

from pathlib import Path

from desmezcla.datasets import layout
from desmezcla.datasets.track import Dataset, Source, Split, Track

PARTS: dict[str, Split] = {"Dev": "train", "Test": "test"}


def read_dsd100(root: Path) -> Dataset:
    """Read `Mixtures/{Dev,Test}/TRACK/mixture.wav` and `Sources/{Dev,Test}/TRACK/STEM.wav`.

    A track is named by its folder, as in "051 - AM Contra - Heart Peripheral".

    Errors:
        DatasetError: if there is no track, or two have the same name.
    """
    tracks: list[Track] = []
    problems: list[str] = []
    for part, split in PARTS.items():
        names = {
            folder.name
            for half in (root / "Mixtures" / part, root / "Sources" / part)
            if half.is_dir()
            for folder in layout.folders(half)
        }
        for name in sorted(names):
            try:
                tracks.append(_track(root, part, name, split))
            except layout.Faulty as fault:
                problems.append(str(fault))
    return layout.dataset_of("dsd100", root, tracks, problems)


def _track(root: Path, part: str, name: str, split: Split) -> Track:
    mixture = root / "Mixtures" / part / name / "mixture.wav"
    sources = root / "Sources" / part / name
    if not mixture.is_file():
        raise layout.Faulty(name, f"{str(mixture)!r} is missing; copy it again")
    if not sources.is_dir():
        raise layout.Faulty(name, f"folder {str(sources)!r} is missing; copy it again")
    stems, _ = layout.stems_of_folder(sources)
    return Track(name, stems, Source(mixture), split)

"""What can be evaluated on a dataset: a release, an oracle, or somebody's estimates.

A release separates by the engine that users run. All three give the stems of a track block by
block, so that no track needs to fit into memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from desmezcla.audio.reader import AudioReader
from desmezcla.datasets.reading import component_stems, read_stem, track_info
from desmezcla.datasets.track import Track
from desmezcla.errors import EvaluationError
from desmezcla.evaluation.running.estimates import Estimates
from desmezcla.evaluation.running.oracle import ORACLES, oracle_blocks
from desmezcla.evaluation.signals import Audio, ChosenSignals, FileSignals
from desmezcla.inference.device import choose_device, choose_dtype
from desmezcla.inference.offline import Separator

# How much of each file is read at a time.
_PART_S = 30.0


@dataclass(frozen=True)
class SpooledTrack:
    """A track of a dataset, decoded once to temporary files.

    Attributes:
        track: The track.
        sample_rate: The highest of its files' rates, in Hz.
        mixture: The song, as its only stem.
        references: Its true stems.
    """

    track: Track
    sample_rate: int
    mixture: FileSignals
    references: FileSignals


class System(Protocol):
    """Something that gives estimates of the stems of tracks."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def about(self) -> dict[str, Any]:
        """What its scores depend on, for `evaluation.json`: no paths, no times."""

    @property
    def needs_references(self) -> bool:
        """Whether `blocks` needs the references of all that `stems` names."""

    def stems(self, track: Track) -> tuple[str, ...]:
        """Name the stems that it gives for a track.

        Errors:
            EvaluationError: if it has nothing for the track.
        """

    def files(self, track: Track) -> tuple[Path, ...]:
        """Return the files that its estimates are read from; none if they are made."""

    def blocks(self, spooled: SpooledTrack, stems: tuple[str, ...]) -> Iterator[Audio]:
        """Give estimates of some of the stems that it names.

        Shape:
            yields `[S, C, n]` at the track's rate.
        """


class ReleaseSystem:
    """A release, run as `desmezcla separate` runs it.

    Args:
        model: Name of the release, or path of its folder.
        options: Those of `Separator`.

    Errors:
        ReleaseError: if the release is unknown or damaged.
        ParameterError: if an option is out of range or not possible on this machine.
    """

    needs_references = False

    def __init__(self, model: str, **options: Any) -> None:
        self._separator = Separator(model, **options)
        self.name = self._separator.name

    @property
    def about(self) -> dict[str, Any]:
        """What its scores depend on: release, options, and the kind of device."""
        release, options = self._separator.release, self._separator.options
        assert release is not None  # it was given by name
        device = choose_device(options.device)
        return {
            "name": self.name,
            "kind": "release",
            "model": release.info.model,
            "sha256": release.sha256,
            "license": release.info.license,
            "trained_on": release.info.trained_on,
            "options": {
                "segment": options.segment,
                "overlap": options.overlap,
                "shifts": options.shifts,
                "seed": options.seed,
                "device": device.type,
                "precision": str(choose_dtype(options.precision, device)).removeprefix("torch."),
            },
        }

    def stems(self, track: Track) -> tuple[str, ...]:
        """Name the release's stems, the same for all tracks."""
        return self._separator.stems

    def files(self, track: Track) -> tuple[Path, ...]:
        """Return nothing: the estimates are made."""
        return ()

    def blocks(self, spooled: SpooledTrack, stems: tuple[str, ...]) -> Iterator[Audio]:
        """Separate the mixture.

        Shape:
            yields `[S, C, n]`.
        """
        mixture = spooled.mixture.read(0, spooled.mixture.length_samples)[0]
        places = [self._separator.stems.index(stem) for stem in stems]
        for block in self._separator.stream(mixture, spooled.sample_rate):
            yield block[places]


@dataclass(frozen=True)
class OracleSystem:
    """An oracle, or the mixture as the estimate of every stem.

    Attributes:
        name: One of `ORACLES`.
    """

    name: str
    needs_references = True

    @property
    def about(self) -> dict[str, Any]:
        """What its scores depend on: its name."""
        return {"name": self.name, "kind": "oracle", "description": ORACLES[self.name]}

    def stems(self, track: Track) -> tuple[str, ...]:
        """Name the stems that add up to the song."""
        return component_stems(track.stems)

    def files(self, track: Track) -> tuple[Path, ...]:
        """Return nothing: the estimates are made."""
        return ()

    def blocks(self, spooled: SpooledTrack, stems: tuple[str, ...]) -> Iterator[Audio]:
        """Make estimates from the mixture and the references of all stems.

        Shape:
            yields `[S, C, n]`.
        """
        all_stems = self.stems(spooled.track)
        references = ChosenSignals(spooled.references, all_stems)
        places = [all_stems.index(stem) for stem in stems]
        for block in oracle_blocks(self.name, spooled.mixture, references, spooled.sample_rate):
            yield block[places]


class EstimatesSystem:
    """Files of estimates, of any program.

    Args:
        estimates: The files.
        name: What they are called in tables.
    """

    needs_references = False

    def __init__(self, estimates: Estimates, name: str) -> None:
        self._estimates = estimates
        self.name = name

    @property
    def about(self) -> dict[str, Any]:
        """What is known of them: a name."""
        return {"name": self.name, "kind": "estimates"}

    def stems(self, track: Track) -> tuple[str, ...]:
        """Name the stems of which there is a file."""
        return tuple(self._estimates.of(track).stems)

    def files(self, track: Track) -> tuple[Path, ...]:
        """Return the files of the estimates."""
        return self._estimates.of(track).files()

    def blocks(self, spooled: SpooledTrack, stems: tuple[str, ...]) -> Iterator[Audio]:
        """Read the estimates; what is shorter than the longest is followed by silence.

        Shape:
            yields `[S, C, n]`.

        Errors:
            EvaluationError: if their rate or their channels are not those of the references.
        """
        found = self._estimates.of(spooled.track)
        chosen = Track(found.name, {stem: found.stems[stem] for stem in stems})
        for source in (source for parts in chosen.stems.values() for source in parts):
            with AudioReader(source.path, stream=source.stream) as reader:
                if reader.sample_rate != spooled.sample_rate:
                    raise EvaluationError(
                        f"{str(source.path)!r} has {reader.sample_rate} Hz, but the references "
                        f"have {spooled.sample_rate} Hz; resample it, or separate again with "
                        "--sample-rate source"
                    )
        info = track_info(chosen)
        if info.channels != spooled.references.channels:
            raise EvaluationError(
                f"the estimates have {info.channels} channel(s), but the references have "
                f"{spooled.references.channels}; separate the song in its own channels"
            )
        yield from track_blocks(chosen, stems)


def open_system(model: str, **options: Any) -> System:
    """Return the oracle of a name, or the release.

    Args:
        model: One of `ORACLES`, or name or path of a release.
        options: Those of `Separator`; oracles have none.

    Errors:
        ReleaseError: if the release is unknown or damaged.
        ParameterError: if an option is out of range or not possible on this machine.
    """
    return OracleSystem(model) if model in ORACLES else ReleaseSystem(model, **options)


def track_blocks(track: Track, stems: tuple[str, ...]) -> Iterator[Audio]:
    """Read stems of a track part by part, at the rate and channels of the best of its files.

    Shape:
        yields `[S, C, n]`.
    """
    info = track_info(track)
    step = round(_PART_S * info.sample_rate)
    for start in range(0, info.length_samples, step):
        samples = min(step, info.length_samples - start)
        yield np.stack(
            [
                read_stem(
                    track,
                    stem,
                    sample_rate=info.sample_rate,
                    channels=info.channels,
                    start_samples=start,
                    samples=samples,
                )
                for stem in stems
            ]
        )

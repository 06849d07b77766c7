"""What is known of a separation without references: the types, and how they become JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from desmezcla.version import VERSION

# Levels over time have one value for so much of it: short enough to see a phrase begin, long
# enough to hold a period of the lowest tone many times.
WINDOW_S = 0.5

# No decibel of a report is infinite: silence is at the lower end, an exact sum at the upper.
FLOOR_DB, CEILING_DB = -200.0, 200.0

Severity = Literal["info", "warning"]
Kind = Literal["active", "faint", "phantom", "silent"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth knowing.

    Attributes:
        severity: "warning" for what a listener or a program may stumble over.
        kind: What it is about; docs/blind.md lists them.
        text: One sentence.
        stem: The stem it is about, "mixture" for the song, or "" for all together.
    """

    severity: Severity
    kind: str
    text: str
    stem: str = ""


@dataclass(frozen=True)
class SignalReport:
    """What was measured of one signal by itself.

    Attributes:
        level_dbfs: Mean square over all channels; a square wave of full scale has 0 dB.
        levels_dbfs: The same in each `WINDOW_S`; the last one may be shorter.
        peak_dbfs: Largest magnitude of a sample.
        true_peak_dbtp: Largest magnitude after oversampling by four.
        full_scale_samples: Samples at or beyond full scale.
        over_samples: Samples beyond full scale, which integer formats cannot hold.
        clipped_runs: How often three or more samples in a row are equal, at or beyond full scale.
        nonfinite_samples: Samples that are NaN or infinite; they were measured as zeros.
        dc_dbfs: Mean of the channel that has the largest.
        width_db: Energy of the side (L - R) relative to the middle (L + R); 0 dB for two channels
            without relation or a single one that sounds, more if they cancel when mixed to mono.
            None if there are not two channels.
        cutoff_hz: Where the spectrum ends abruptly; None where it falls gradually or not at all.
        length_samples: Its own length.
    """

    level_dbfs: float
    levels_dbfs: tuple[float, ...]
    peak_dbfs: float
    true_peak_dbtp: float
    full_scale_samples: int
    over_samples: int
    clipped_runs: int
    nonfinite_samples: int
    dc_dbfs: float
    width_db: float | None
    cutoff_hz: float | None
    length_samples: int


@dataclass(frozen=True)
class StemReport(SignalReport):
    """What was measured of a stem.

    Attributes:
        kind: "silent"; "faint": it is hardly heard beside the song; "phantom": faint, and
            following other stems, as leakage does; or "active".
        relative_db: Its energy relative to that of the song.
        share: Its part of the energy of all stems, from 0 to 1.
        loudest_db: Its loudest window relative to the level of the song while that sounds.
        heard_db: Level relative to the song at the same time which it reaches for a second in all.
        active_share: Part of the time, while the song sounds, in which it is heard beside it.
        follows: By other stem: how much of its changes, frequency by frequency, that one
            explains, from 0 to 1. Empty where it cannot be measured.
        follows_rest: The same for the sum of all other stems; None where it cannot be measured.
        source: The louder stem, or "the rest" for the sum of all others, that explains most; ""
            if it is the loudest, or nothing can be measured. Leakage goes from loud to soft.
        source_part: How much that one explains.
    """

    kind: Kind
    relative_db: float
    share: float
    loudest_db: float
    heard_db: float
    active_share: float
    follows: Mapping[str, float] = field(default_factory=dict)
    follows_rest: float | None = None
    source: str = ""
    source_part: float = 0.0


@dataclass(frozen=True)
class SumReport:
    """How the stems add up.

    Attributes:
        reconstruction_db: Energy of the song relative to that of its difference from the sum.
        frames_db: The same in each `WINDOW_S`.
        gain_db: Gain that brings the sum nearest to the song, in its magnitude.
        inverted: Whether that gain is negative.
        reconstruction_with_gain_db: The first, after this gain.
        energies_db: Energies of all stems, added, relative to that of the song, after the gain:
            far above 0 dB, stems cancel each other.
        lag_samples: How much later than the song the sum seems to come.
        alignment: How clear that is, from 0 to 1.
    """

    reconstruction_db: float
    frames_db: tuple[float, ...]
    gain_db: float
    inverted: bool
    reconstruction_with_gain_db: float
    energies_db: float
    lag_samples: int
    alignment: float


@dataclass(frozen=True)
class BlindReport:
    """What is known of the separation of a song for which there are no references.

    Attributes:
        song: Name of the song, or "".
        system: What separated it, or "".
        sample_rate: In Hz.
        channels: Number of channels.
        duration_s: Length of the longest signal.
        mixture: The song.
        stems: By name, in their order.
        sum: How they add up.
        findings: What is wrong or worth knowing, warnings first.
    """

    song: str
    system: str
    sample_rate: int
    channels: int
    duration_s: float
    mixture: SignalReport
    stems: Mapping[str, StemReport]
    sum: SumReport
    findings: tuple[Finding, ...] = ()

    @property
    def times_s(self) -> tuple[float, ...]:
        """Where each window begins."""
        return tuple(index * WINDOW_S for index in range(len(self.mixture.levels_dbfs)))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it, with numbers to the third decimal."""
        head = {"version": VERSION, "window_s": WINDOW_S}
        stems = {name: asdict(stem) for name, stem in self.stems.items()}
        flat = {key: getattr(self, key) for key in _FLAT}
        content = {
            **head,
            **flat,
            "findings": [asdict(finding) for finding in self.findings],
            "mixture": asdict(self.mixture),
            "stems": stems,
            "sum": asdict(self.sum),
        }
        rounded: dict[str, Any] = _rounded(content)
        return rounded


_FLAT = ("song", "system", "sample_rate", "channels", "duration_s")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value

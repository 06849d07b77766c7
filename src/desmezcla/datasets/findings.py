"""What can be wrong with the tracks of a dataset, judged by what their files hold."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from desmezcla.datasets.meter import FileReport
from desmezcla.datasets.reading import MIXTURE
from desmezcla.datasets.track import Split

Severity = Literal["error", "warning"]

# What a finding can be about.
KINDS = (
    "unreadable",  # it does not exist, is no audio, or holds NaN
    "damaged",  # parts of it could not be decoded
    "length",  # the files of a track differ in length
    "rate",  # or in sample rate
    "channels",  # mono among stereo, or more than two
    "short",  # shorter than is useful
    "silent",  # nothing above -60 dBFS
    "clipped",  # samples stay at full scale
    "missing",  # a stem that other tracks have
    "sum",  # the stems do not add up to the mixture
    "duplicate",  # the same samples are there twice
)

# Programs that export stems differ by less; beyond it, a file was cut or belongs elsewhere.
_LENGTH_TOLERANCE_S = 0.05


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth knowing.

    Attributes:
        severity: A track with an "error" should not be used; one with a "warning" can.
        kind: One of `KINDS`.
        text: What, with the name of the file.
    """

    severity: Severity
    kind: str
    text: str


@dataclass(frozen=True)
class TrackReport:
    """What was found in a track.

    Attributes:
        track: Its name.
        split: Its split.
        files: What each of its files holds.
        residual_db: Level of the mixture less the sum of the stems, relative to the mixture; None
            if there is no mixture apart, or it could not be computed.
        findings: What is wrong.
    """

    track: str
    split: Split
    files: tuple[FileReport, ...]
    residual_db: float | None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return {
            "track": self.track,
            "split": self.split,
            "ok": self.ok,
            "residual_db": self.residual_db,
            "findings": [vars(finding) for finding in self.findings],
            "files": [file.as_dict() for file in self.files],
        }

    def lines(self) -> list[str]:
        """Return a line for the track, and one for each finding."""
        longest = max(self.files, key=lambda file: file.length_s)
        facts = [f"{longest.length_s:.1f} s", f"{longest.sample_rate} Hz", self.split]
        if self.residual_db is not None:
            facts.append(f"mixture less stems {self.residual_db:.1f} dB")
        found = [f"  {finding.severity}: {finding.text}" for finding in self.findings]
        return [f"{self.track}: {', '.join(facts)}", *found]


def judged(
    report: TrackReport, min_s: float, max_residual_db: float, missing: Collection[str]
) -> Iterator[Finding]:
    """Yield what is wrong with a track by itself."""
    for file in report.files:
        if file.error:
            yield Finding("error", "unreadable", f"{file.role}: {file.error}")
        for text in file.warnings:
            yield Finding("error", "damaged", f"{file.role}: {text}")
    files = [file for file in report.files if not file.error]
    yield from _differences(files)
    for file in files:
        yield from _faults(file, min_s)
    for stem in sorted(missing):
        yield Finding("warning", "missing", f"it has no {stem}, which is taken as silence")
    if report.residual_db is not None and report.residual_db > max_residual_db:
        yield Finding(
            "warning",
            "sum",
            f"the mixture differs from the sum of the stems by {report.residual_db:.1f} dB "
            f"relative to it, which is more than {max_residual_db:g} dB",
        )


def _faults(file: FileReport, min_s: float) -> Iterator[Finding]:
    """Yield what is wrong with a file by itself."""
    name = f"{file.role} {file.file!r}"
    if file.channels > 2:
        yield Finding("error", "channels", f"{name} has {file.channels} channels, more than 2")
    if file.length_s < min_s:
        text = f"{name} lasts {file.length_s:.3f} s, less than {min_s:g} s"
        yield Finding("error", "short", text)
    if file.silent_share == 1:
        severity: Severity = "error" if file.role == MIXTURE else "warning"
        yield Finding(severity, "silent", f"{name} is silent: nothing is above -60 dBFS")
    if file.clipped_runs:
        text = f"{name} is clipped in {file.clipped_runs} place(s)"
        yield Finding("warning", "clipped", text)


def _differences(files: Sequence[FileReport]) -> Iterator[Finding]:
    """Yield in what the files of a track differ from most of them."""
    if not files:
        return
    rate = Counter(file.sample_rate for file in files).most_common(1)[0][0]
    longest = max(file.length_s for file in files)
    stereo = any(file.channels == 2 for file in files)
    for file in files:
        name = f"{file.role} {file.file!r}"
        if file.sample_rate != rate:
            text = f"{name} has {file.sample_rate} Hz, but the track has {rate} Hz"
            yield Finding("error", "rate", text)
        if stereo and file.channels == 1:
            yield Finding("error", "channels", f"{name} is mono, but the track is stereo")
        short_s = longest - file.length_s
        if short_s > 1 / file.sample_rate:
            severity: Severity = "error" if short_s > _LENGTH_TOLERANCE_S else "warning"
            text = f"{name} ends at {file.length_s:.3f} s, but the track at {longest:.3f} s"
            yield Finding(severity, "length", text)


def compared(reports: Sequence[TrackReport]) -> dict[str, list[Finding]]:
    """Return what is wrong with tracks when they are compared with the others."""
    found: dict[str, list[Finding]] = defaultdict(list)
    read = {r.track: [file for file in r.files if not file.error] for r in reports}
    rates = {track: max(f.sample_rate for f in files) for track, files in read.items() if files}
    mono = {track for track, files in read.items() if files and files[0].channels == 1}
    for track, rate in rates.items():
        usual = Counter(rates.values()).most_common(1)[0][0]
        if rate != usual:
            text = f"it has {rate} Hz, but most tracks have {usual} Hz"
            found[track].append(Finding("warning", "rate", text))
        if track in mono and len(mono) <= len(rates) / 2:
            found[track].append(Finding("warning", "channels", "it is mono, but most are stereo"))
    for track, finding in _duplicates(reports):
        found[track].append(finding)
    return found


def _duplicates(reports: Sequence[TrackReport]) -> Iterator[tuple[str, Finding]]:
    """Yield which track holds the same samples twice, or those of an earlier track."""
    first: dict[str, tuple[TrackReport, FileReport]] = {}
    shared: dict[tuple[str, str], list[str]] = defaultdict(list)
    splits = {report.track: report.split for report in reports}
    for report in reports:
        for file in report.files:
            if file.error or file.silent_share == 1:
                continue
            owner, other = first.setdefault(file.digest, (report, file))
            if owner is not report:
                shared[report.track, owner.track].append(file.role)
            elif other is not file and MIXTURE not in (file.role, other.role):
                text = f"its {other.role} and {file.role} are the same, sample by sample"
                yield report.track, Finding("warning", "duplicate", text)
    for (track, other_track), roles in shared.items():
        apart = splits[track] != splits[other_track]
        where = f", which is in the split {splits[other_track]}" if apart else ""
        text = f"its {', '.join(roles)} is that of track {other_track!r}{where}"
        yield track, Finding("error" if apart else "warning", "duplicate", text)

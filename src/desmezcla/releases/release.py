"""What a release is: a folder with weights, a configuration, a card and `release.yaml`.

| file | holds |
|---|---|
| `model.safetensors` | the tensors; a model that needs no training has the file too, with none |
| `config.yaml` | `model`, the key of the architecture, and the fields of its `Config` |
| `card.md` | the card: what it is, licence, training data, scores |
| `release.yaml` | `ReleaseFile`: facts for programs, and the sha256 of the other three |

A *bag* is a release without a model of its own: its `release.yaml` names `members`, whose stems
are averaged. Of the other files it may have the card.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from desmezcla.errors import ReleaseError

RELEASE_FILE = "release.yaml"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
CARD_FILE = "card.md"

NAME_PATTERN = r"[a-z0-9][a-z0-9_.-]{0,63}"

Name = Annotated[str, Field(pattern=rf"^{NAME_PATTERN}$")]
StemName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """A record read from YAML: it cannot change, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(Frozen):
    """One set of scores, with everything that is needed to compare it with another.

    Attributes:
        metric: Name of the metric; values are in dB.
        dataset: What was separated.
        averaging: How frames and tracks were averaged.
        source: Who measured it: a publication's address, or the command that was run.
        values_db: Score of each stem.
    """

    metric: str = "SDR"
    dataset: str
    averaging: str
    source: str
    values_db: dict[StemName, float]


class About(Frozen):
    """What people state about a release; the rest follows from its files.

    Attributes:
        license: SPDX identifier of the weights' licence, or "unknown".
        saw_musdb18_test: Whether MUSDB18's test tracks were among the training data, which makes
            scores on them worthless.
        description: One or two sentences for lists and cards, quality included.
        sources: Addresses where the release comes from.
    """

    name: Name
    license: str = "unknown"
    trained_on: str = "unknown"
    saw_musdb18_test: bool | Literal["unknown"] = "unknown"
    scores: tuple[Scores, ...] = ()
    description: str = ""
    sources: tuple[str, ...] = ()

    @property
    def non_commercial(self) -> bool:
        """Whether the licence forbids commercial use (a Creative Commons licence with NC)."""
        return "NC" in self.license.upper().split("-")


class Summary(About):
    """What a list shows of a release, installed or not."""

    model: str | None = None
    stems: tuple[StemName, ...] = Field(min_length=1)
    sample_rate: int = Field(gt=0)
    channels: int = Field(ge=1, le=2)
    causal: bool = False


class Member(Frozen):
    """One release of a bag.

    Attributes:
        release: Its name.
        weights: Weight of each of its stems in the average of the bag; a stem that is not named
            weighs nothing. With no weights at all, every stem weighs 1.
    """

    release: Name
    weights: dict[StemName, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}

    def weight(self, stem: str) -> float:
        """Return what the member's `stem` weighs."""
        return self.weights.get(stem, 0.0) if self.weights else 1.0


class ReleaseFile(Summary):
    """The content of `release.yaml`."""

    sha256: dict[Literal["model.safetensors", "config.yaml", "card.md"], Sha256] = {}
    members: tuple[Member, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "ReleaseFile":
        if (self.model is None) != bool(self.members):
            raise ValueError("a release has either a model or members, not both and not neither")
        if self.model is not None and len(self.sha256) != 3:
            raise ValueError(f"sha256 must name {WEIGHTS_FILE}, {CONFIG_FILE} and {CARD_FILE}")
        if self.members:
            for stem in self.stems:
                if not any(member.weight(stem) > 0 for member in self.members):
                    raise ValueError(f"no member has a weight for the stem {stem}")
        return self


@dataclass(frozen=True)
class Release:
    """A release on this machine.

    Attributes:
        folder: Where its files are.
        info: Content of its `release.yaml`.
        bundled: Whether it came with the package.
    """

    folder: Path
    info: ReleaseFile
    bundled: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def sha256(self) -> str:
        """What identifies it: the sha256 of its weights, or of `release.yaml` for a bag."""
        recorded = self.info.sha256.get("model.safetensors")
        return recorded or file_digest(self.folder / RELEASE_FILE)

    @property
    def size_bytes(self) -> int:
        """Size of its files together."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def read_release(folder: Path, *, bundled: bool = False) -> Release:
    """Read the `release.yaml` of a folder; the other files are not opened.

    Errors:
        ReleaseError: if the file is missing, is not YAML or breaks a rule of `ReleaseFile`.
    """
    path = folder / RELEASE_FILE
    try:
        info = ReleaseFile.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ReleaseError(
            f"{path} is not a valid release file: {explain(error)}; install the release again"
        ) from error
    return Release(folder, info, bundled)


def read_yaml(path: Path) -> object:
    """Return the content of a YAML file.

    Errors:
        ReleaseError: if it cannot be read or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReleaseError(
            f"{path} cannot be read as YAML ({' '.join(str(error).split())}); "
            "a release folder must hold it, so install the release again"
        ) from error


def write_yaml(path: Path, content: object) -> None:
    """Write YAML in the order of the keys, with plain text for every script."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8", newline="\n")


def explain(error: ValidationError) -> str:
    """Return pydantic's findings as one line: field, value, rule."""
    return "; ".join(
        f"{'.'.join(map(str, found['loc'])) or 'content'}={_short(found['input'])}: {found['msg']}"
        for found in error.errors()
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def about_of(about: About, **changes: object) -> About:
    """Return only what people state of a richer record, with some of it changed."""
    return About(**{field: getattr(about, field) for field in About.model_fields} | changes)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file as hex digits.

    Errors:
        ReleaseError: if the file cannot be read.
    """
    digest = hashlib.new(algorithm)
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error
    return digest.hexdigest()


def card_text(info: Summary) -> str:
    """Return a card in Markdown that says what `release.yaml` knows."""
    seen = {True: "yes", False: "no", "unknown": "unknown"}[info.saw_musdb18_test]
    lines = [
        f"# {info.name}",
        "",
        *([info.description, ""] if info.description else []),
        f"- Stems: {', '.join(info.stems)}",
        f"- Audio: {info.sample_rate} Hz, {'stereo' if info.channels == 2 else 'mono'}",
        f"- Model: {info.model or 'a bag of releases'}{', causal' if info.causal else ''}",
        f"- Licence of the weights: {info.license}",
        f"- Trained on: {info.trained_on}",
        f"- MUSDB18's test tracks among the training data: {seen}",
        *(f"- Source: {source}" for source in info.sources),
    ]
    if info.non_commercial:
        lines += ["", "**The licence forbids commercial use of the weights.**"]
    lines += ["", "## Scores", ""]
    for scores in info.scores:
        lines += [
            f"{scores.metric} in dB on {scores.dataset}, {scores.averaging} ({scores.source}):",
            "",
            "| stem | dB |",
            "|---|---|",
            *(f"| {stem} | {value:.2f} |" for stem, value in scores.values_db.items()),
            "",
        ]
    if not info.scores:
        lines += ["None measured.", ""]
    return "\n".join(lines)

"""What a listening test is: one frozen model, written as `test.yaml` beside the audio.

FOLDER/test.yaml          the design
FOLDER/audio/*.flac       what is heard, under names that tell nothing
FOLDER/answers.sqlite     what the listeners answered; made by the first `desmezcla listen serve`
"""

import secrets
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.releases.release import explain

DESIGN_FILE = "test.yaml"
AUDIO_FOLDER = "audio"
ANSWERS_FILE = "answers.sqlite"

REFERENCE = "reference"
ANCHOR = "anchor"

QUALITY = "quality"
CONTAMINATION = "contamination"
MOS_SCALES = (QUALITY, CONTAMINATION)

# Lowest and highest of the five categories, and of a slider.
MOS_RANGE = (1, 5)
MUSHRA_RANGE = (0, 100)

# What a listener needs for all questions, and for a trial besides its excerpt.
_QUESTIONS_S, _ANSWERS_S = 240.0, 12.0

Role = Literal["system", "reference", "anchor"]
AudioName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
Language = Literal["en", "es"]


def new_audio_name() -> str:
    """Return the name of a file that tells nothing about what is in it."""
    return secrets.token_hex(12)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Part):
    """What is compared: a system, the hidden reference or the anchor.

    Attributes:
        name: What it is called in the report; listeners never see it.
        role: What it is.
    """

    name: str = Field(min_length=1, max_length=60)
    role: Role = "system"


class Stimulus(_Part):
    """One file: a condition's version of an excerpt.

    Attributes:
        file: Name of the file in `audio/`, without its ending.
        condition: Name of the condition.
        lufs: Loudness of the excerpt as the system gave it; None where it is silent.
        gain_db: What it was amplified by.
    """

    file: AudioName
    condition: str
    lufs: float | None
    gain_db: float


class Excerpt(_Part):
    """A few seconds of one stem of a song.

    Attributes:
        song: Name of the track.
        stem: Name of the stem.
        start_s: Where it begins in the song.
        duration_s: How long it is.
        level_lufs: The loudness that all its stimuli have.
        stimuli: One for each condition.
        open_reference: File of the true stem for MUSHRA pages, a copy under a name of its own.
    """

    song: str
    stem: str
    start_s: float = Field(ge=0)
    duration_s: float = Field(gt=0)
    level_lufs: float
    stimuli: tuple[Stimulus, ...]
    open_reference: AudioName | None = None


class Song(_Part):
    """A song of which excerpts are heard.

    Attributes:
        name: Name of the track.
        mixture: File with an excerpt of the song itself, for the question how well its style is
            known; None where there is no mixture.
    """

    name: str
    mixture: AudioName | None = None


class Calibration(_Part):
    """An extreme example, heard before the trials.

    Attributes:
        file: Name of the file in `audio/`.
        kind: "clean" is the true stem, "contaminated" the whole song where a stem should be,
            "damaged" a stem with strong artefacts.
        stem: Which stem it is to be judged as.
    """

    file: AudioName
    kind: Literal["clean", "contaminated", "damaged"]
    stem: str


class Screening(_Part):
    """When the answers of a listener do not count; fixed before anybody has answered.

    Attributes:
        min_answered: Share of the trials that must have been answered.
        max_repeat_difference: Largest mean difference between the ratings of a trial and of its
            repeat, in categories.
        min_reference: Lowest mean rating of the hidden reference, either scale.
        min_agreement: Lowest correlation of the ratings with the mean of all other listeners.
        min_others: Other listeners that are needed to judge agreement.
        mushra_reference: A hidden reference below this counts as missed (ITU-R BS.1534).
        mushra_missed: Largest share of MUSHRA pages with a missed reference.
    """

    min_answered: float = Field(default=0.5, ge=0, le=1)
    max_repeat_difference: float = Field(default=1.0, ge=0)
    min_reference: float = Field(default=3.5, ge=1, le=5)
    min_agreement: float = Field(default=0.25, ge=-1, le=1)
    min_others: int = Field(default=3, ge=2)
    mushra_reference: float = Field(default=90, ge=0, le=100)
    mushra_missed: float = Field(default=0.15, ge=0, le=1)


class ListeningTest(_Part):
    """The design of a listening test.

    Attributes:
        format: Of the file; a later one may mean other things.
        name: What listeners read above the pages.
        organiser: Who answers for the test and can be asked, for the text of consent.
        consent: Text of consent by language, in the place of the usual one; lines are paragraphs.
        seed: Of all that is drawn.
        sample_rate: Of the files, in Hz.
        conditions: What is compared.
        songs: The songs.
        excerpts: What is heard of them.
        calibration: Extreme examples.
        repeats: How many trials each listener hears twice, without being told.
        mushra: Whether pages follow on which all conditions are compared with the true stem.
        min_played: Share of an excerpt that must have been heard before it can be rated.
        screening: When answers do not count.
    """

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=100)
    organiser: str = Field(default="", max_length=300)
    consent: dict[Language, str] | None = None
    seed: int = Field(ge=0)
    sample_rate: int = Field(ge=8000, le=192_000)
    conditions: tuple[Condition, ...]
    songs: tuple[Song, ...]
    excerpts: tuple[Excerpt, ...]
    calibration: tuple[Calibration, ...] = ()
    repeats: int = Field(default=0, ge=0)
    mushra: bool = False
    min_played: float = Field(default=0.8, ge=0, le=1)
    screening: Screening = Screening()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [condition.name for condition in self.conditions]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"conditions are {names}, but must be two or more, each once")
        files = self.files()
        if len(set(files)) < len(files):
            raise ValueError("two stimuli have the same file")
        songs = {song.name for song in self.songs}
        for excerpt in self.excerpts:
            where = f"excerpt {excerpt.song!r}, {excerpt.stem!r}"
            if [s.condition for s in excerpt.stimuli] != names:
                raise ValueError(f"{where}: its stimuli must be those of {names}, in this order")
            if excerpt.song not in songs:
                raise ValueError(f"{where}: its song is not among the songs")
            if self.mushra and excerpt.open_reference is None:
                raise ValueError(f"{where}: a MUSHRA page needs open_reference")
        if not self.excerpts:
            raise ValueError("there is no excerpt")
        if self.repeats > len(self.excerpts) * len(names) // 2:
            raise ValueError(f"repeats={self.repeats} must be at most half of the trials")
        if self.consent is not None and set(self.consent) != {"en", "es"}:
            raise ValueError("consent must have a text in en and in es, or be null")
        return self

    def files(self) -> tuple[str, ...]:
        """Return the names of all files of audio."""
        found = [s.file for excerpt in self.excerpts for s in excerpt.stimuli]
        found += [e.open_reference for e in self.excerpts if e.open_reference is not None]
        found += [song.mixture for song in self.songs if song.mixture is not None]
        return (*found, *(example.file for example in self.calibration))

    def role(self, condition: str) -> Role:
        """Return what a condition is."""
        return next(c.role for c in self.conditions if c.name == condition)

    def trials(self) -> int:
        """Return how many trials a listener has, repeats included, MUSHRA pages not."""
        return len(self.excerpts) * len(self.conditions) + self.repeats

    def minutes(self) -> int:
        """Return about how long a listener needs."""
        heard_s = sum(excerpt.duration_s for excerpt in self.excerpts) / len(self.excerpts)
        needed_s = _QUESTIONS_S + self.trials() * (heard_s + _ANSWERS_S)
        if self.mushra:
            needed_s += 2 * heard_s * len(self.excerpts) * len(self.conditions)
        return max(1, round(needed_s / 60))


def write_design(design: ListeningTest, folder: Path) -> None:
    """Write `test.yaml`."""
    text = yaml.safe_dump(design.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / DESIGN_FILE).write_text(text, encoding="utf-8")


def read_design(folder: Path | str) -> ListeningTest:
    """Read the design of a test, and check that all it names is there.

    Errors:
        ParameterError: if the folder is no test.
        DesmezclaError: if the design is damaged, or a file of audio is missing.
    """
    root = Path(folder)
    path = root / DESIGN_FILE
    if not path.is_file():
        raise ParameterError(
            f"{str(root)!r} is no listening test: it holds no {DESIGN_FILE}; make one with "
            "`desmezcla listen create`"
        )
    try:
        design = ListeningTest.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise DesmezclaError(f"{str(path)!r} cannot be used: {explain(error)}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DesmezclaError(f"{str(path)!r} cannot be used: {error}") from error
    missing = [name for name in design.files() if not audio_path(root, name).is_file()]
    if missing:
        raise DesmezclaError(
            f"{str(root)!r} lacks {len(missing)} file(s), the first is "
            f"{audio_path(root, missing[0]).name!r}; copy the whole folder, or create it again"
        )
    return design


def audio_path(root: Path, name: str) -> Path:
    """Return the path of a file of audio."""
    return root / AUDIO_FOLDER / f"{name}.flac"

"""What listeners are asked besides ratings: before the trials, about each song, and after them."""

from dataclasses import dataclass

from desmezcla.listening.design import ListeningTest

# Steps of a listener that are no trials; each is an item with answers of its own.
CONSENT = "consent"
BEFORE = "before"
SONGS = "songs"
INSTRUCTIONS = "instructions"
CALIBRATION = "calibration"
AFTER = "after"

GENRES = ("pop", "rock", "metal", "electronic", "hiphop", "jazz", "classical", "folk")

_DEGREES = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Question:
    """A question with answers to choose from.

    Attributes:
        key: Name of the scale it is stored as, and of its texts.
        choices: What can be answered; their texts have the name `KEY_CHOICE`, degrees from 1 to 5
            those of `words`.
        words: Where the texts of the degrees come from.
    """

    key: str
    choices: tuple[str, ...] = _DEGREES
    words: str = ""

    def text_key(self, choice: str) -> str:
        """Return the key of the text of a choice."""
        return f"{self.words or self.key}_{choice}"


BEFORE_QUESTIONS = (
    Question("experience", ("none", "some", "trained", "professional")),
    Question("instrument", ("no", "past", "yes")),
    Question("device", ("headphones", "earphones", "speakers", "builtin")),
    Question("surroundings", ("quiet", "some", "noisy")),
    Question("hearing", ("no", "yes", "unsaid")),
    *(Question(f"likes_{genre}", words="likes") for genre in GENRES),
)

AFTER_QUESTIONS = (
    Question("attention"),
    Question("distraction"),
    Question("difficulty"),
)


def song_questions(design: ListeningTest) -> tuple[Question, ...]:
    """Return the question how well the style is known, once for each song."""
    return tuple(
        Question(f"song{place}", words="familiar") for place in range(1, len(design.songs) + 1)
    )


def asked(design: ListeningTest) -> dict[str, tuple[Question, ...]]:
    """Return the questions of each step that is no trial, in the order of the steps.

    What is only confirmed, as the consent, is a question with one answer.
    """
    steps = {
        CONSENT: (Question("agree", ("yes",)),),
        BEFORE: BEFORE_QUESTIONS,
        SONGS: song_questions(design),
        INSTRUCTIONS: (Question("read", ("yes",)),),
        CALIBRATION: (Question("heard", ("yes",)),) if design.calibration else (),
        AFTER: AFTER_QUESTIONS,
    }
    return {step: questions for step, questions in steps.items() if questions}

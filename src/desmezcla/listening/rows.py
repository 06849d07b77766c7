"""All answers as rows, with what was heard: what is downloaded and what reports are made of.

Listeners have a number there; the secret parts of their links are left out.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields

from desmezcla.listening.design import MOS_SCALES, ListeningTest
from desmezcla.listening.order import Item
from desmezcla.listening.steps import is_mushra
from desmezcla.listening.store import Given, ListenerState

MUSHRA = "mushra"
RATING_SCALES = (*MOS_SCALES, MUSHRA)


@dataclass(frozen=True)
class Row:
    """One answer.

    Attributes:
        listener: From 1, in the order of beginning.
        item: The page.
        place: Which of the listener's trials it is, from 1; 0 for what is no trial.
        repeat: Whether the trial had been heard before.
        song: What was heard; "" for what is no trial.
        stem: The stem.
        condition: Name of the system, "reference" or "anchor".
        role: "system", "reference" or "anchor".
        scale: What was asked; "mushra" for a slider.
        value: What was answered.
        revision: How often it was given.
        listened_s: For how long the page had played.
        after_s: When it was stored, in seconds after the listener began.
    """

    listener: int
    item: str
    place: int
    repeat: bool
    song: str
    stem: str
    condition: str
    role: str
    scale: str
    value: str
    revision: int
    listened_s: float
    after_s: float


def answer_rows(design: ListeningTest, listeners: Iterable[ListenerState]) -> Iterator[Row]:
    """Yield all answers of all listeners who have begun, in the order of their pages."""
    conditions = {
        stimulus.file: stimulus.condition
        for excerpt in design.excerpts
        for stimulus in excerpt.stimuli
    }
    for listener in listeners:
        if listener.number is None:
            continue
        items = {item.name: (place, item) for place, item in enumerate(listener.items, start=1)}
        for (name, scale), given in sorted(
            listener.answers.items(), key=lambda answer: _order(answer[0], items)
        ):
            if name in items:
                yield _trial(design, listener, conditions, *items[name], scale, given)
            else:
                yield Row(
                    listener.number + 1,
                    name,
                    *(0, False, "", "", "", ""),
                    scale,
                    *_facts(listener, given),
                )


def csv_of(rows: Iterable[Row]) -> str:
    """Write rows as CSV, with a head."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return file.getvalue()


def _trial(
    design: ListeningTest,
    listener: ListenerState,
    conditions: Mapping[str, str],
    place: int,
    item: Item,
    scale: str,
    given: Given,
) -> Row:
    assert listener.number is not None
    excerpt = design.excerpts[item.excerpt]
    condition = conditions[scale if is_mushra(item) else item.files[0]]
    return Row(
        listener.number + 1,
        item.name,
        place,
        item.repeat,
        excerpt.song,
        excerpt.stem,
        condition,
        design.role(condition),
        MUSHRA if is_mushra(item) else scale,
        *_facts(listener, given),
    )


def _facts(listener: ListenerState, given: Given) -> tuple[str, int, float, float]:
    after_s = round(given.saved_s - (listener.began_s or given.saved_s), 1)
    return given.value, given.revision, round(given.listened_s, 1), after_s


def _order(
    answer: tuple[str, str], items: Mapping[str, tuple[int, Item]]
) -> tuple[int, int, str, str]:
    name, scale = answer
    return (name in items, items[name][0] if name in items else 0, name, scale)

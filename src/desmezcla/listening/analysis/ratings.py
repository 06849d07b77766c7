"""The answers of a test as tables: one row for each rating, one for each listener."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from desmezcla.errors import ParameterError
from desmezcla.listening.design import ListeningTest
from desmezcla.listening.optional import require
from desmezcla.listening.questions import AFTER, BEFORE, SONGS
from desmezcla.listening.rows import RATING_SCALES, Row, answer_rows
from desmezcla.listening.steps import is_done, trials_done
from desmezcla.listening.store import ListenerState

if TYPE_CHECKING:
    from pandas import DataFrame

# Of the five degrees of a question, those that belong together.
_DEGREES = {"1": "low", "2": "low", "3": "middle", "4": "high", "5": "high"}

# Questions with five degrees; the others have answers that are groups themselves.
_BY_DEGREE = ("attention", "distraction", "difficulty")
_BY_ANSWER = ("experience", "instrument", "device", "surroundings", "hearing")

FAMILIARITY = "familiarity"


@dataclass(frozen=True)
class Ratings:
    """What listeners answered.

    Attributes:
        design: The test.
        rows: All answers, as they are downloaded.
        all: Every rating, repeats included: the columns of `Row`, with `score` for the number.
        listeners: One row for each who began: listener, language, share (of the trials that are
            answered), finished, and the answers to the questions.
    """

    design: ListeningTest
    rows: tuple[Row, ...]
    all: "DataFrame"
    listeners: "DataFrame"

    @property
    def scales(self) -> tuple[str, ...]:
        """Scales that have a rating."""
        found = set(self.all["scale"])
        return tuple(scale for scale in RATING_SCALES if scale in found)

    @property
    def first(self) -> "DataFrame":
        """The ratings that count: those of repeats only tell how consistent a listener is."""
        return self.all[~self.all["repeat"]]

    def of(self, listeners: Sequence[int]) -> "Ratings":
        """Return the ratings of some listeners."""
        return replace(
            self,
            all=self.all[self.all["listener"].isin(listeners)],
            listeners=self.listeners[self.listeners["listener"].isin(listeners)],
        )


def collect(design: ListeningTest, listeners: Sequence[ListenerState]) -> Ratings:
    """Make tables of what is stored.

    Errors:
        ParameterError: if nobody has rated anything.
    """
    rows = tuple(answer_rows(design, listeners))
    rated = [row for row in rows if row.scale in RATING_SCALES and row.condition]
    if not rated:
        raise ParameterError(
            "nobody has rated anything yet; serve the test with `desmezcla listen serve`"
        )
    pandas = require("pandas")
    table = pandas.DataFrame([asdict(row) for row in rated])
    table = table.assign(score=table["value"].astype(float))
    return Ratings(design, rows, table, _listener_table(design, listeners))


def with_groups(ratings: Ratings) -> "tuple[DataFrame, tuple[str, ...]]":
    """Add to the ratings that count the groups which their listeners belong to.

    Degrees from 1 to 5 are put together as low (1, 2), middle (3) and high (4, 5). How well the
    style is known is a group of a listener and a song.

    Returns:
        The table with a column for each grouping, and the names of those with two groups or more.
    """
    table, listeners = ratings.first, ratings.listeners.set_index("listener")
    columns: dict[str, Any] = {}
    for name in ("language", *_BY_ANSWER, *_BY_DEGREE):
        if name in listeners:
            words = listeners[name]
            words = words.map(_DEGREES) if name in _BY_DEGREE else words
            columns[name] = table["listener"].map(words)
    known = {
        (row.listener, row.scale): _DEGREES[row.value] for row in ratings.rows if row.item == SONGS
    }
    scales = {song.name: f"song{i}" for i, song in enumerate(ratings.design.songs, start=1)}
    columns[FAMILIARITY] = [
        known.get((listener, scales[song]))
        for listener, song in zip(table["listener"], table["song"], strict=True)
    ]
    table = table.assign(**columns)
    return table, tuple(name for name in columns if table[name].nunique() > 1)


def _listener_table(design: ListeningTest, listeners: Sequence[ListenerState]) -> "DataFrame":
    rows = []
    for listener in listeners:
        if listener.number is None:
            continue
        done, trials = trials_done(listener)
        answers = {
            scale: given.value
            for (item, scale), given in listener.answers.items()
            if item in (BEFORE, SONGS, AFTER)
        }
        rows.append(
            {
                "listener": listener.number + 1,
                "language": listener.language,
                "share": done / trials,
                "finished": is_done(design, listener),
                **answers,
            }
        )
    return require("pandas").DataFrame(rows)

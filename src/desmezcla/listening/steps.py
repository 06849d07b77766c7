"""Where a listener is: it follows from what they have answered, so nothing else can be lost."""

from dataclasses import dataclass

from desmezcla.listening.design import MOS_RANGE, MOS_SCALES, MUSHRA_RANGE, ListeningTest
from desmezcla.listening.order import Item
from desmezcla.listening.questions import AFTER, CONSENT, asked
from desmezcla.listening.store import ListenerState

DONE = "done"


@dataclass(frozen=True)
class Step:
    """A page, and what must be answered on it.

    Attributes:
        name: A step of `questions`, the name of an item, or `DONE`.
        scales: What is answered on it, with the values that there are.
        item: The item of a trial or a MUSHRA page; None for other steps.
    """

    name: str
    scales: dict[str, tuple[str, ...]]
    item: Item | None = None


def all_steps(design: ListeningTest, listener: ListenerState) -> tuple[Step, ...]:
    """Return all pages of a listener, in order; before they begin, the consent only."""
    asking = {
        name: Step(name, {question.key: question.choices for question in questions})
        for name, questions in asked(design).items()
    }
    if listener.number is None:
        return (asking[CONSENT],)
    last = asking.pop(AFTER)
    return (*asking.values(), *map(_item_step, listener.items), last)


def current_step(design: ListeningTest, listener: ListenerState) -> tuple[Step, int, int]:
    """Return the first page that is not wholly answered, how many are before it, and of how many.

    A listener who has no number has not begun, whatever they have answered.
    """
    steps = all_steps(design, listener)
    if listener.number is None:
        pages = design.trials() + len(design.excerpts) * design.mushra
        return steps[0], 0, len(asked(design)) + pages
    for place, step in enumerate(steps):
        if any((step.name, scale) not in listener.answers for scale in step.scales):
            return step, place, len(steps)
    return Step(DONE, {}), len(steps), len(steps)


def trials_done(listener: ListenerState) -> tuple[int, int]:
    """Return how many trials and MUSHRA pages a listener has answered, and has in all."""
    steps = [_item_step(item) for item in listener.items]
    done = sum(all((s.name, scale) in listener.answers for scale in s.scales) for s in steps)
    return done, len(steps)


def is_done(design: ListeningTest, listener: ListenerState) -> bool:
    """Return whether a listener has answered everything."""
    return current_step(design, listener)[0].name == DONE


def is_mushra(item: Item) -> bool:
    """Return whether an item is a MUSHRA page."""
    return item.name.startswith("m")


def _item_step(item: Item) -> Step:
    if is_mushra(item):
        return Step(item.name, dict.fromkeys(item.files, _numbers(MUSHRA_RANGE)), item)
    return Step(item.name, dict.fromkeys(MOS_SCALES, _numbers(MOS_RANGE)), item)


def _numbers(limits: tuple[int, int]) -> tuple[str, ...]:
    low, high = limits
    return tuple(map(str, range(low, high + 1)))

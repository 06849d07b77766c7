"""In which order a listener hears the stimuli: balanced over listeners, drawn by a seed.

Trials come in rounds: in each, every excerpt is heard once, in one of the conditions, and the next
trial is of another excerpt wherever there are two. Which condition an excerpt has in which round is
a row of a Williams square, the next one for the next listener. Over as many listeners as the square
has rows, each condition of an excerpt therefore comes equally often in each round, and each is
heard equally often just after each of the others, as far as that excerpt goes: neither fatigue nor
what was heard before favours a system.

Reference:
    E. J. Williams, "Experimental designs balanced for the estimation of residual effects of
    treatments", Australian Journal of Scientific Research A 2, 1949.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desmezcla.listening.design import ListeningTest, Stimulus


@dataclass(frozen=True)
class Item:
    """One page of a listener.

    Attributes:
        name: Unique for the listener: `t1`, `t2`, … are trials, `m1`, … MUSHRA pages.
        excerpt: Index of the excerpt in the design.
        files: What is heard, in the order of the buttons; one for a trial.
        repeat: Whether the trial has been heard before.
    """

    name: str
    excerpt: int
    files: tuple[str, ...]
    repeat: bool = False


def williams_rows(conditions: int) -> tuple[tuple[int, ...], ...]:
    """Return the rows of a Williams square: each condition once in each row.

    Each condition stands equally often in each place, and each ordered pair of conditions equally
    often in neighbouring places. An even number has as many rows as conditions, an odd one twice
    as many.

    >>> williams_rows(4)
    ((0, 3, 1, 2), (1, 0, 2, 3), (2, 1, 3, 0), (3, 2, 0, 1))
    """
    first = [0]
    for place in range(1, conditions):
        # 0, n-1, 1, n-2, …: all differences between neighbours, modulo n, are different.
        first.append(place // 2 if place % 2 == 0 else conditions - (place + 1) // 2)
    rows = [tuple((value + row) % conditions for value in first) for row in range(conditions)]
    if conditions % 2:
        rows += [row[::-1] for row in rows]
    return tuple(rows)


def listener_order(design: ListeningTest, number: int) -> tuple[Item, ...]:
    """Return the pages of a listener: trials with hidden repeats, then MUSHRA pages.

    Args:
        design: The test.
        number: Which listener it is, from 0; it decides on the rows of the squares.

    Returns:
        The same for the same seed and number.
    """
    rng = np.random.default_rng([design.seed, 1, number])
    trials = _with_repeats(design, _rounds(design, number, rng), rng)
    items = [
        Item(f"t{place}", excerpt, (stimulus.file,), repeat)
        for place, (excerpt, stimulus, repeat) in enumerate(trials, start=1)
    ]
    if design.mushra:
        for place, excerpt in enumerate(rng.permutation(len(design.excerpts)), start=1):
            stimuli = design.excerpts[excerpt].stimuli
            files = tuple(stimuli[i].file for i in rng.permutation(len(stimuli)))
            items.append(Item(f"m{place}", int(excerpt), files))
    return tuple(items)


_Trial = tuple[int, Stimulus, bool]


def _rounds(design: ListeningTest, number: int, rng: np.random.Generator) -> list[_Trial]:
    rows = williams_rows(len(design.conditions))
    # Where in its square an excerpt begins is the same for all listeners, else nothing is balanced.
    first_rows = np.random.default_rng([design.seed, 0]).integers(
        len(rows), size=len(design.excerpts)
    )
    trials: list[_Trial] = []
    for turn in range(len(design.conditions)):
        order = rng.permutation(len(design.excerpts))
        if trials and len(order) > 1 and order[0] == trials[-1][0]:
            other = 1 + int(rng.integers(len(order) - 1))
            order[[0, other]] = order[[other, 0]]
        for excerpt in map(int, order):
            row = rows[(number + first_rows[excerpt]) % len(rows)]
            trials.append((excerpt, design.excerpts[excerpt].stimuli[row[turn]], False))
    return trials


def _with_repeats(
    design: ListeningTest, trials: Sequence[_Trial], rng: np.random.Generator
) -> list[_Trial]:
    """Insert some trials of the first half again, at least half of a test later."""
    apart = len(trials) // 2
    chosen = sorted(rng.choice(apart, size=design.repeats, replace=False)) if design.repeats else []
    result = list(trials)
    for first in map(int, chosen):
        excerpt, stimulus, _ = trials[first]
        # What has been inserted lies behind, so that the first occurrence is where it was.
        places = np.arange(first + apart, len(result) + 1)
        quiet = [p for p in places if excerpt not in _neighbours(result, int(p))]
        place = int(rng.choice(quiet or places))
        result.insert(place, (excerpt, stimulus, True))
    return result


def _neighbours(trials: Sequence[_Trial], place: int) -> set[int]:
    """Return the excerpts before and after a place where a trial may be inserted."""
    return {trial[0] for trial in trials[max(place - 1, 0) : place + 1]}

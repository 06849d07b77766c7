"""Squares, and the orders that are made of them."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.listening.order import Item, listener_order, williams_rows

from .conftest import plain_design


@pytest.mark.parametrize("conditions", range(2, 10))
def test_a_square_is_balanced_for_places_and_for_neighbours(conditions: int) -> None:
    rows = williams_rows(conditions)
    assert len(rows) == conditions * (1 + conditions % 2)
    assert all(sorted(row) == list(range(conditions)) for row in rows)
    for place in range(conditions):
        counts = Counter(row[place] for row in rows)
        assert set(counts.values()) == {len(rows) // conditions}
    follow = Counter(pair for row in rows for pair in pairwise(row))
    assert len(follow) == conditions * (conditions - 1)
    assert set(follow.values()) == {len(rows) // conditions}


def condition_of(items: tuple[Item, ...], conditions: int) -> list[tuple[int, int]]:
    """Return excerpt and condition of trials that are no repeats; files are counted up."""
    return [(i.excerpt, int(i.files[0], 16) % conditions) for i in items if not i.repeat]


@pytest.mark.parametrize("conditions", [2, 3, 4, 5])
def test_over_the_rows_of_a_square_each_excerpt_is_balanced(conditions: int) -> None:
    design = plain_design(conditions, songs=3)
    listeners = len(williams_rows(conditions))
    first = 7  # the balance does not depend on where one begins to count
    rounds: Counter[tuple[int, int, int]] = Counter()
    follow: Counter[tuple[int, int, int]] = Counter()
    for number in range(first, first + listeners):
        trials = condition_of(listener_order(design, number), conditions)
        assert len(set(trials)) == len(trials) == 6 * conditions
        for excerpt in range(6):
            heard = [condition for e, condition in trials if e == excerpt]
            rounds.update((excerpt, place, condition) for place, condition in enumerate(heard))
            follow.update((excerpt, a, b) for a, b in pairwise(heard))
    assert set(rounds.values()) == {listeners // conditions}
    assert len(rounds) == 6 * conditions**2
    assert set(follow.values()) == {listeners // conditions}
    assert len(follow) == 6 * conditions * (conditions - 1)


@given(
    conditions=st.integers(2, 6),
    songs=st.integers(1, 4),
    stems=st.integers(1, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
    number=st.integers(0, 1000),
)
def test_orders_hold_everything_once_and_repeats_far_away(
    conditions: int, songs: int, stems: int, share: float, seed: int, number: int
) -> None:
    trials = conditions * songs * stems
    repeats = int(share * (trials // 2))
    design = plain_design(conditions, songs, stems, repeats=repeats, seed=seed)
    order = listener_order(design, number)
    assert order == listener_order(design, number)
    assert len({item.name for item in order}) == len(order) == trials + repeats
    first = {item.files: place for place, item in enumerate(order) if not item.repeat}
    assert len(first) == trials
    again = [(place, item) for place, item in enumerate(order) if item.repeat]
    assert len({item.files for _, item in again}) == repeats
    assert all(place - first[item.files] >= trials // 2 for place, item in again)
    if songs * stems > 1:
        plain = [item.excerpt for item in order if not item.repeat]
        assert all(a != b for a, b in pairwise(plain))


def test_listeners_and_seeds_have_orders_of_their_own() -> None:
    design = plain_design(4, songs=4)
    orders = {listener_order(design, number) for number in range(20)}
    orders |= {listener_order(plain_design(4, songs=4, seed=1), number) for number in range(20)}
    assert len(orders) == 40

"""What is stored, and what happens when two want to store at once."""

import threading
from pathlib import Path

import pytest

from desmezcla.errors import DesmezclaError
from desmezcla.listening.order import listener_order
from desmezcla.listening.store import Given, NewAnswer, Store

from .conftest import plain_design

DESIGN = plain_design(repeats=2)


def begun(store: Store) -> str:
    (id,) = store.add_listeners(1) or ()
    store.begin(id, "es", lambda number: listener_order(DESIGN, number))
    return id


def answer(value: str, revision: int, change: str) -> NewAnswer:
    return NewAnswer("t1", "quality", value, revision, change, 3.0)


def test_the_same_answer_sent_again_changes_nothing(store: Store) -> None:
    id = begun(store)
    first = store.answer(id, answer("3", 0, "a"))
    assert first == store.answer(id, answer("3", 0, "a")) == Given("3", 1)
    assert store.changes(id) == [("t1", "quality", "3", True)]


def test_a_later_answer_counts_and_the_earlier_stays_in_the_log(store: Store) -> None:
    id = begun(store)
    store.answer(id, answer("3", 0, "a"))
    assert store.answer(id, answer("5", 1, "b")) == Given("5", 2)
    state = store.listener(id)
    assert state is not None
    assert state.answers["t1", "quality"].value == "5"
    assert [value for _, _, value, _ in store.changes(id)] == ["3", "5"]


def test_an_answer_that_did_not_know_of_a_newer_one_is_logged_and_refused(store: Store) -> None:
    id = begun(store)
    store.answer(id, answer("3", 0, "a"))
    assert store.answer(id, answer("1", 0, "other tab")) == Given("3", 1, accepted=False)
    # Sent again, it is still refused.
    assert store.answer(id, answer("1", 0, "other tab")) == Given("3", 1, accepted=False)
    assert store.changes(id)[-1] == ("t1", "quality", "1", False)
    # Refused where nothing has been answered at all.
    assert store.answer(id, NewAnswer("t2", "quality", "1", 7, "x")).accepted is False
    assert store.answer(id, NewAnswer("t2", "quality", "1", 7, "x")).accepted is False


def test_numbers_are_given_in_the_order_of_beginning_and_only_once(store: Store) -> None:
    links = store.add_listeners(3) or ()
    for id in (links[2], links[0], links[2]):
        store.begin(id, "en", lambda number: listener_order(DESIGN, number))
    numbers = {listener.id: listener.number for listener in store.listeners()}
    assert (numbers[links[2]], numbers[links[0]], numbers[links[1]]) == (0, 1, None)
    state = store.listener(links[0])
    assert state is not None
    assert state.items == listener_order(DESIGN, 1)


def test_a_limit_of_listeners_is_kept(store: Store) -> None:
    assert store.add_listeners(2, limit=3) is not None
    assert store.add_listeners(2, limit=3) is None
    assert len(store.listeners()) == 2


def test_everything_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "50% of #1?.sqlite"
    with Store(path) as store:
        id = begun(store)
        store.answer(id, answer("4", 0, "a"))
        before = store.listener(id)
    with Store(path) as store:
        assert store.listener(id) == before
    assert path.exists()


def test_a_removed_listener_leaves_nothing(store: Store) -> None:
    kept, removed = begun(store), begun(store)
    store.answer(removed, answer("3", 0, "a"))
    assert store.remove(removed)
    assert not store.remove(removed)
    assert store.changes(removed) == []
    # A request that was under way does no harm.
    assert not store.answer(removed, answer("3", 0, "b")).accepted
    store.begin(removed, "en", lambda number: listener_order(DESIGN, number))
    assert [listener.id for listener in store.listeners()] == [kept]


def test_answers_that_come_at_once_are_all_stored_and_one_of_each_question_wins(
    store: Store,
) -> None:
    id = begun(store)
    given: list[Given] = []

    def tab(number: int) -> None:
        for item in range(1, 11):
            new = NewAnswer(f"t{item}", "quality", str(number), 0, f"{number}-{item}")
            given.append(store.answer(id, new))

    tabs = [threading.Thread(target=tab, args=(number,)) for number in range(1, 5)]
    for thread in tabs:
        thread.start()
    for thread in tabs:
        thread.join()
    assert sum(one.accepted for one in given) == 10
    assert len(store.changes(id)) == 40
    state = store.listener(id)
    assert state is not None
    assert {one.revision for one in state.answers.values()} == {1}


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DesmezclaError, match="cannot be used"):
        Store(path)

"""What listeners answer, on disk before they are told so.

SQLite with a write-ahead log and full synchronisation: a transaction that has returned survives the
end of the process, and of the machine. Every write begins by taking the lock, so that two requests
can never both build on what they have read; reading takes none.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import URL, create_engine, delete, event, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from desmezcla.errors import DesmezclaError
from desmezcla.listening.order import Item
from desmezcla.listening.tables import Answer, Change, Listener, PlannedItem, Table

# How long a request waits for others to be written.
_WAIT_S = 30


@dataclass(frozen=True)
class Given:
    """An answer as it stands.

    Attributes:
        value: What was answered.
        revision: How often it has been given; 0 for never.
        accepted: Whether it is the one that was just sent.
        listened_s: For how long the page had played anything.
        saved_s: When it was stored, in seconds since 1970.
    """

    value: str
    revision: int
    accepted: bool = True
    listened_s: float = 0.0
    saved_s: float = 0.0


@dataclass(frozen=True)
class ListenerState:
    """What is known of a listener.

    Attributes:
        id: The secret part of the link.
        number: From 0, in the order of beginning; None for somebody who has not begun.
        language: In which they began.
        began_s: When, in seconds since 1970.
        items: Their pages, in order; empty before they begin.
        answers: By item and scale.
        saved_s: When the last answer came; None for none.
    """

    id: str
    number: int | None
    language: str
    began_s: float | None
    items: tuple[Item, ...]
    answers: dict[tuple[str, str], Given]
    saved_s: float | None


@dataclass(frozen=True)
class NewAnswer:
    """An answer that is sent.

    Attributes:
        item: The page.
        scale: The question of the page.
        value: What is answered.
        revision: That of the answer that the page knew; 0 for none.
        change: What the page has drawn to tell this answer from all others.
        listened_s: For how long the page had played anything.
    """

    item: str
    scale: str
    value: str
    revision: int
    change: str
    listened_s: float = 0.0


class Store:
    """The answers of a test.

    Args:
        path: The database; it is made if it is not there.

    Errors:
        DesmezclaError: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": _WAIT_S, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._reading = self._engine.execution_options(desmezcla_reading=True)
        try:
            Table.metadata.create_all(self._engine)
        except DBAPIError as error:
            self.close()
            raise DesmezclaError(
                f"{str(path)!r} cannot be used: {error.orig}; check its folder's permissions and "
                "that it is the database of a listening test"
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_listeners(self, count: int, *, limit: int | None = None) -> tuple[str, ...] | None:
        """Make links, and return their secret parts.

        Args:
            count: How many.
            limit: How many there may be in all; None for any number.

        Returns:
            None if there would be too many; then none is made.
        """
        made = tuple(secrets.token_urlsafe(16) for _ in range(count))
        with Session(self._engine) as session, session.begin():
            there = session.scalar(select(func.count()).select_from(Listener)) or 0
            if limit is not None and there + count > limit:
                return None
            session.add_all(Listener(id=id, made_s=time.time()) for id in made)
        return made

    def listeners(self) -> tuple[ListenerState, ...]:
        """Return all listeners: those that have begun in their order, then the others."""
        order = (Listener.number.is_(None), Listener.number, Listener.id)
        with Session(self._reading) as session, session.begin():
            return _states(session, session.scalars(select(Listener).order_by(*order)).all())

    def listener(self, id: str) -> ListenerState | None:
        """Return a listener; None if there is none of this link."""
        with Session(self._reading) as session, session.begin():
            found = session.get(Listener, id)
            return _states(session, [found], only=id)[0] if found is not None else None

    def begin(self, id: str, language: str, order: Callable[[int], Sequence[Item]]) -> None:
        """Give a listener a number and an order of pages, unless they have one, or were removed.

        Args:
            id: The link.
            language: In which they begin.
            order: Gives the pages of a number.
        """
        with Session(self._engine) as session, session.begin():
            listener = session.get(Listener, id)
            if listener is None or listener.number is not None:
                return
            last = session.scalar(select(func.max(Listener.number)))
            listener.number = 0 if last is None else last + 1
            listener.language, listener.began_s = language, time.time()
            session.add_all(
                PlannedItem(
                    listener=id,
                    name=item.name,
                    place=place,
                    excerpt=item.excerpt,
                    files=" ".join(item.files),
                    repeat=item.repeat,
                )
                for place, item in enumerate(order(listener.number))
            )

    def answer(self, id: str, new: NewAnswer) -> Given:
        """Store an answer; when this returns, it is on disk.

        An answer that was sent before, by its `change`, changes nothing. One that was given without
        knowing of a newer one, in another tab for instance, is kept in the log and refused. One of
        a listener who was removed meanwhile is refused.

        Args:
            id: The link of a listener.
            new: The answer.

        Returns:
            What counts now.
        """
        with Session(self._engine) as session, session.begin():
            if session.get(Listener, id) is None:
                return Given("", 0, accepted=False)
            there = session.get(Answer, (id, new.item, new.scale))
            value, current = (there.value, there.revision) if there is not None else ("", 0)
            known = session.get(Change, (new.change, id, new.item, new.scale))
            if known is not None:
                return Given(value, current, known.accepted)
            accepted = new.revision == current
            now_s = time.time()
            session.add(
                Change(
                    id=new.change,
                    listener=id,
                    item=new.item,
                    scale=new.scale,
                    value=new.value,
                    listened_s=new.listened_s,
                    saved_s=now_s,
                    accepted=accepted,
                )
            )
            if not accepted:
                return Given(value, current, accepted=False)
            if there is None:
                there = Answer(listener=id, item=new.item, scale=new.scale)
                session.add(there)
            there.value, there.revision = new.value, current + 1
            there.listened_s, there.saved_s = new.listened_s, now_s
        return Given(new.value, current + 1)

    def remove(self, id: str) -> bool:
        """Remove a listener and all they have answered; tell whether there was one.

        Their number is not given to another one, unless it was the last.
        """
        with Session(self._engine) as session, session.begin():
            for table in (Answer, Change, PlannedItem):
                session.execute(delete(table).where(table.listener == id))
            found = session.get(Listener, id)
            if found is not None:
                session.delete(found)
            return found is not None

    def changes(self, id: str) -> list[tuple[str, str, str, bool]]:
        """Return item, scale, value and acceptance of all that a listener ever sent, in order."""
        with Session(self._reading) as session, session.begin():
            rows = session.execute(
                select(Change.item, Change.scale, Change.value, Change.accepted)
                .where(Change.listener == id)
                .order_by(Change.saved_s)
            )
            return [(item, scale, value, accepted) for item, scale, value, accepted in rows]


def _states(
    session: Session, listeners: Sequence[Listener], *, only: str | None = None
) -> tuple[ListenerState, ...]:
    """Put listeners together with what they hear and what they answered, in two queries."""
    planned = select(PlannedItem).order_by(PlannedItem.listener, PlannedItem.place)
    given = select(Answer)
    if only is not None:
        planned = planned.where(PlannedItem.listener == only)
        given = given.where(Answer.listener == only)
    items: dict[str, list[Item]] = defaultdict(list)
    for row in session.scalars(planned):
        item = Item(row.name, row.excerpt, tuple(row.files.split()), row.repeat)
        items[row.listener].append(item)
    answers: dict[str, dict[tuple[str, str], Given]] = defaultdict(dict)
    for answer in session.scalars(given):
        answers[answer.listener][answer.item, answer.scale] = Given(
            answer.value, answer.revision, listened_s=answer.listened_s, saved_s=answer.saved_s
        )
    return tuple(
        ListenerState(
            id=one.id,
            number=one.number,
            language=one.language,
            began_s=one.began_s,
            items=tuple(items[one.id]),
            answers=answers[one.id],
            saved_s=max((given.saved_s for given in answers[one.id].values()), default=None),
        )
        for one in listeners
    )


def _prepare(connection: Any, _: Any) -> None:
    # The driver would begin transactions at the first write only; `_begin` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: Any) -> None:
    reading = connection.get_execution_options().get("desmezcla_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

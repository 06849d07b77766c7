"""The tables of the database: who listens, what they hear when, what they answered."""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """The base of all tables."""


class Listener(Table):
    """Somebody who has a link. No name, no address: nothing here tells who it is."""

    __tablename__ = "listener"

    id: Mapped[str] = mapped_column(String(22), primary_key=True)
    # From 0, in the order in which they agreed to take part; it decides on the order of the trials.
    number: Mapped[int | None] = mapped_column(unique=True)
    language: Mapped[str] = mapped_column(String(2), default="")
    made_s: Mapped[float]
    began_s: Mapped[float | None]


class PlannedItem(Table):
    """A page of a listener, stored before the first is shown."""

    __tablename__ = "item"
    __table_args__ = (UniqueConstraint("listener", "place"),)

    listener: Mapped[str] = mapped_column(ForeignKey("listener.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(12), primary_key=True)
    place: Mapped[int]
    excerpt: Mapped[int]
    # Separated by spaces, in the order of the buttons.
    files: Mapped[str]
    repeat: Mapped[bool]


class Answer(Table):
    """What counts: one row for each listener, item and scale."""

    __tablename__ = "answer"

    listener: Mapped[str] = mapped_column(ForeignKey("listener.id"), primary_key=True)
    item: Mapped[str] = mapped_column(String(24), primary_key=True)
    scale: Mapped[str] = mapped_column(String(24), primary_key=True)
    value: Mapped[str] = mapped_column(String(24))
    # How often it has been given: what a page knew of it, tells whether another page was faster.
    revision: Mapped[int]
    listened_s: Mapped[float]
    saved_s: Mapped[float]


class Change(Table):
    """Every answer that ever came, those that were refused for a newer one included."""

    __tablename__ = "change"

    # Drawn by the page: the same answer, sent again, is not stored again.
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    listener: Mapped[str] = mapped_column(ForeignKey("listener.id"), primary_key=True)
    item: Mapped[str] = mapped_column(String(24), primary_key=True)
    scale: Mapped[str] = mapped_column(String(24), primary_key=True)
    value: Mapped[str] = mapped_column(String(24))
    listened_s: Mapped[float]
    saved_s: Mapped[float]
    accepted: Mapped[bool]

"""The tables of the queue."""

from typing import Any, Literal

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
ACTIVE: tuple[State, ...] = ("waiting", "running")


class Base(DeclarativeBase):
    """What the tables have in common."""

    type_annotation_map = {list[str]: JSON, dict[str, Any]: JSON}  # noqa: RUF012


class Job(Base):
    """A song that is, was or will be separated.

    Attributes:
        id: What names it; who does not know it cannot guess it.
        client: Who it belongs to.
        name: What the client calls the file; never a path.
        suffix: Ending of the upload's name on the disk, with its dot, or nothing.
        stems: Stems that are wanted; empty for all.
        attempt: How often it was begun; the number of the folder of the last attempt.
        deaths: How many workers died at it.
        worker: Who has it, while it runs.
        lease_until_s: When it goes to another worker unless that one is heard of.
        cancel: Whether the worker is to stop.
        fraction: How much is done, from 0 to 1.
        files: Name of each stem's file, once it is done.
        bytes: Of its upload and results on the disk, or what they will need.
        changed_s: When a line was last written; times are in seconds since 1970.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    client: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str]
    suffix: Mapped[str] = mapped_column(String(8))
    model: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(16))
    stems: Mapped[list[str]]
    duration_s: Mapped[float | None]
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    attempt: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(32))
    lease_until_s: Mapped[float | None]
    cancel: Mapped[bool] = mapped_column(default=False)
    fraction: Mapped[float] = mapped_column(default=0.0)
    eta_s: Mapped[float | None]
    error: Mapped[str | None]
    files: Mapped[dict[str, Any]] = mapped_column(default=dict)
    bytes: Mapped[int] = mapped_column(default=0)
    created_s: Mapped[float]
    started_s: Mapped[float | None]
    ended_s: Mapped[float | None]
    changed_s: Mapped[float] = mapped_column(index=True)

    __table_args__ = (Index("queue", "state", "created_s"),)


class WorkerRow(Base):
    """A worker process, as long as it is heard of."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    seen_s: Mapped[float]

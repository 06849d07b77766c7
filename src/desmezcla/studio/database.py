"""Opening the database of the queue."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.studio.tables import Base

_BUSY_S = 30


def open_database(url: str) -> Engine:
    """Return a database with the tables of the queue.

    Args:
        url: Its address, as SQLAlchemy writes it.

    Errors:
        ParameterError: if it is no address, or its driver is not installed.
        DesmezclaError: if it cannot be opened.
    """
    engine = _engine(url)
    try:
        Base.metadata.create_all(engine)
    except DBAPIError as error:
        # Of two processes that make the tables at the same time, one is too late.
        try:
            Base.metadata.create_all(engine)
        except DBAPIError:
            engine.dispose()
            shown = make_url(url).render_as_string(hide_password=True)
            raise DesmezclaError(
                f"the database {shown} cannot be opened ({_first_line(error)}); check its address "
                "and that its server runs"
            ) from error
    return engine


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(parsed, connect_args={"timeout": _BUSY_S})
            event.listen(engine, "connect", _prepare_sqlite)
            return engine
        return create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ParameterError(
            f"--database is no address of a database ({_first_line(error)}); write it as in "
            "sqlite:////folder/file or postgresql+psycopg://user@host/name, and install its driver"
        ) from error


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Readers do not wait for the one who writes, and what is written outlives a loss of power.
    for setting in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_S * 1000}"):
        connection.execute(f"PRAGMA {setting}").close()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

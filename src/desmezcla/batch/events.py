"""What happens to tasks, as `--json` prints it, and how a task is tried."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from desmezcla.errors import DesmezclaError

_log = logging.getLogger(__name__)

Event = dict[str, Any]
"""What happens, as `--json` prints it: `event` is start, progress, file, error or done."""

Report = Callable[[Event], None]

_Result = TypeVar("_Result")


class Interrupted(Exception):
    """The driver wants its workers to stop, or is no more."""


def attempt(work: Callable[[], _Result], name: str, report: Report) -> _Result | None:
    """Do a task, reporting its start; what goes wrong with it is an event, too.

    Args:
        work: Does the task; it does not return None.
        name: Of the task, for the events.
        report: Called with the events.

    Returns:
        What `work` returned; None if it failed.
    """
    report({"event": "start", "input": name})
    try:
        return work()
    except Interrupted:
        raise
    except Exception as error:
        report({"event": "error", "input": name, "message": reason_of(error)})
    return None


def reason_of(error: Exception) -> str:
    """Say what went wrong, for people; an error that is not meant for them is a fault of ours."""
    if isinstance(error, DesmezclaError):
        return str(error)
    _log.debug("unexpected error", exc_info=error)
    return f"{type(error).__name__}: {error}; this is a fault of desmezcla, please report it"

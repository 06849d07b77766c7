"""Packages that only some installs have; pandas and SciPy come with the extra `eval`."""

from importlib import import_module
from typing import Any

from desmezcla.errors import DesmezclaError


def require(module: str, *, needed_by: str = "tables and statistics", extra: str = "eval") -> Any:
    """Import a module of an optional package.

    >>> require("json").dumps([1])
    '[1]'

    Args:
        module: Its full name, as in "scipy.stats".
        needed_by: What cannot be done without it.
        extra: The extra of the package that brings it.

    Errors:
        DesmezclaError: if the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DesmezclaError(
            f"{needed_by} need {package}, which is not installed; "
            f"install it with: pip install 'desmezcla[{extra}]'"
        ) from error

"""Packages that only some installs have: those of listening tests come with the extra `listen`."""

from importlib import import_module
from typing import Any

from desmezcla.errors import DesmezclaError


def require(module: str) -> Any:
    """Import a module of an optional package.

    >>> require("json").dumps([1])
    '[1]'

    Args:
        module: Its full name, as in "scipy.stats".

    Errors:
        DesmezclaError: if the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DesmezclaError(
            f"listening tests need {package}, which is not installed; "
            "install it with: pip install 'desmezcla[listen]'"
        ) from error

"""The architectures: one file each, and the file's name is the architecture's key."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from desmezcla.errors import ParameterError
from desmezcla.models.base import (
    Core,
    InnerCore,
    ModelConfig,
    Part,
    SeparationModel,
    SpectralModel,
    StreamCore,
)

__all__ = [
    "Core",
    "InnerCore",
    "ModelConfig",
    "Part",
    "SeparationModel",
    "SpectralModel",
    "StreamCore",
    "build_model",
    "config_class",
    "list_models",
    "model_class",
]


def list_models() -> list[str]:
    """Return the keys of all architectures, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base")


def model_class(key: str) -> type[SeparationModel[Any]]:
    """Return the class of an architecture: the one model in its file that is not abstract.

    Errors:
        ParameterError: if there is no such architecture.
    """
    module = _module(key)
    (found,) = (
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        # In Python 3.10, aliases like tuple[int, ...] pass for classes, but are of another module.
        if member.__module__ == module.__name__
        and issubclass(member, SeparationModel)
        and not inspect.isabstract(member)
    )
    return found


def config_class(key: str) -> type[ModelConfig]:
    """Return the `Config` of an architecture.

    Errors:
        ParameterError: if there is no such architecture.
    """
    found: type[ModelConfig] = _module(key).Config
    return found


def build_model(key: str, **fields: Any) -> SeparationModel[Any]:
    """Build an untrained model in evaluation mode.

    Args:
        key: Name of the architecture, for example `"open_unmix"`.
        fields: Fields of its `Config`; what is not given has the paper's value.

    Errors:
        ParameterError: if the architecture or a field is unknown, or a value is out of range.
    """
    cls = model_class(key)
    try:
        config = config_class(key)(**fields)
    except ValidationError as error:
        known = ", ".join(config_class(key).model_fields)
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}={e['input']!r}: {e['msg']}" for e in error.errors()
        )
        raise ParameterError(f"{problems}. The fields of {key} are {known}") from error
    return cls(config).eval()


def _module(key: str) -> ModuleType:
    if key not in list_models():
        raise ParameterError(
            f"model={key!r} is not an architecture; choose one of {', '.join(list_models())}"
        )
    return importlib.import_module(f"{__name__}.{key}")

"""desmezcla: music source separation, from one install.

The public names are imported when they are first used, so that `import desmezcla` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

from desmezcla.version import VERSION as __version__

_HOMES = {
    "AudioFileError": "desmezcla.errors",
    "DatasetError": "desmezcla.errors",
    "DesmezclaError": "desmezcla.errors",
    "EvaluationError": "desmezcla.errors",
    "ParameterError": "desmezcla.errors",
    "ReleaseError": "desmezcla.errors",
    "ReleaseInfo": "desmezcla.releases.store",
    "Separator": "desmezcla.inference.offline",
    "StreamSeparator": "desmezcla.inference.realtime",
    "build_model": "desmezcla.models",
    "evaluate": "desmezcla.evaluation.evaluate",
    "list_models": "desmezcla.models",
    "list_releases": "desmezcla.releases.store",
    "load_model": "desmezcla.releases.checkpoint",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from desmezcla.errors import AudioFileError as AudioFileError
    from desmezcla.errors import DatasetError as DatasetError
    from desmezcla.errors import DesmezclaError as DesmezclaError
    from desmezcla.errors import EvaluationError as EvaluationError
    from desmezcla.errors import ParameterError as ParameterError
    from desmezcla.errors import ReleaseError as ReleaseError
    from desmezcla.evaluation.evaluate import evaluate as evaluate
    from desmezcla.inference.offline import Separator as Separator
    from desmezcla.inference.realtime import StreamSeparator as StreamSeparator
    from desmezcla.models import build_model as build_model
    from desmezcla.models import list_models as list_models
    from desmezcla.releases.checkpoint import load_model as load_model
    from desmezcla.releases.store import ReleaseInfo as ReleaseInfo
    from desmezcla.releases.store import list_releases as list_releases


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from desmezcla.errors import without_torch

        raise without_torch(f"desmezcla.{name}") from error


def __dir__() -> list[str]:
    return sorted(__all__)

"""What the commands that separate while the sound comes in have in common: options, releases."""

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from desmezcla.cli.options import read_number
from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # at run time it would slow down `desmezcla --help`
    from desmezcla.releases.release import Release


class Engine(str, Enum):
    """What runs the model."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"


class LivePrecision(str, Enum):
    """How exactly a stream is computed."""

    auto = "auto"
    float32 = "float32"
    int8 = "int8"


EngineOption = Annotated[Engine, typer.Option(help="What runs the model.")]
LivePrecisionOption = Annotated[
    LivePrecision, typer.Option(help="How exactly to compute; int8 needs ONNX Runtime.")
]


def causal_release(model: str, *, quiet: bool) -> "Release":
    """Return a release that can separate a stream, fetched if it is not on this machine.

    Args:
        model: Name of a release, or path of its folder.
        quiet: Do not show that it is fetched.

    Errors:
        ReleaseError: if there is no such release, or it cannot be fetched.
        ParameterError: if it is not causal; nothing has been fetched then.
    """
    from desmezcla.cli.report import fetched_release
    from desmezcla.releases.release import Release
    from desmezcla.releases.store import list_releases, locate_release

    found = locate_release(model)
    about = found.info if isinstance(found, Release) else found
    if not about.causal:
        known = ", ".join(info.name for info in list_releases() if info.causal)
        raise ParameterError(
            f"model={model!r} is not causal: it must hear what comes later; separate files with "
            f"it (desmezcla separate), or choose a causal one: {known or 'none is known yet'}"
        )
    return fetched_release(model, quiet=quiet)


def read_gains(option: str, texts: Iterable[str]) -> dict[str, float]:
    """Read gains such as vocals=0, drums=1.5 and bass=-6dB, as factors.

    Errors:
        ParameterError: if one is not written so, or a stem has two.
    """
    gains: dict[str, float] = {}
    for text in texts:
        stem, _, value = (part.strip() for part in text.partition("="))
        if not stem or stem in gains:
            raise ParameterError(
                f"--{option}={text!r} must be as vocals=0, drums=1.5 or bass=-6dB, each stem once"
            )
        number = value.lower().removesuffix("db")
        gain = read_number(option, number, f"a number for {stem}, as in {stem}=0.5 or {stem}=-6dB")
        # No power of ten beyond what a float holds; all such gains are too large in any case.
        gains[stem] = 10 ** min(gain / 20, 300) if number != value.lower() else gain
    return gains

"""What several commands read from their options in the same way."""

from enum import Enum

from desmezcla.errors import ParameterError


class Precision(str, Enum):
    """How exactly the model computes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


def read_names(text: str | None) -> tuple[str, ...] | None:
    """Read names separated by commas."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def read_number(option: str, text: str, rule: str) -> float:
    """Read a number, or say by which rule it must be one."""
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"--{option}={text!r} must be {rule}") from None


def read_segment(text: str | None) -> float | str | None:
    """Read a number of seconds, "track", or nothing."""
    if text is None or text == "track":
        return text
    return read_number("segment", text, "a number of seconds, or track")

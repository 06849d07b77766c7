"""What ONNX files of desmezcla say of themselves in their metadata, as JSON: what all kinds share.

Nothing here needs PyTorch or ONNX Runtime.
"""

import base64
import binascii
from dataclasses import fields
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from desmezcla.dsp.framing import Audio, Framing, Part, checked_framing
from desmezcla.errors import ReleaseError
from desmezcla.releases.release import Frozen, Sha256, StemName, explain

MOST_FRAME_SAMPLES = 1 << 20
"""Far more than a frame of a model has; it bounds what a file can make a program allocate."""


def _decoded(text: str) -> Audio:
    """Return the numbers of a window. Shape: returns `[n]`."""
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)


def _encoded(window: Audio | None) -> str | None:
    return None if window is None else base64.b64encode(window.astype("<f4").tobytes()).decode()


def _check_window(text: str) -> str:
    try:
        _decoded(text)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no float32 numbers in base64 ({error})") from error
    return text


# Little-endian float32, in base64.
Window = Annotated[str, AfterValidator(_check_window)]


class FramingFacts(Frozen):
    """A `Framing`, with the same fields, its windows in base64."""

    frame_samples: Annotated[int, Field(ge=1, le=MOST_FRAME_SAMPLES)]
    hop_samples: int
    synthesis_samples: int
    before_samples: int
    edges: Literal["reflected", "silent", "covered"]
    parts: tuple[Part, ...]
    analysis: Window | None
    synthesis: Window | None
    power: Window | None

    @classmethod
    def of(cls, framing: Framing) -> "FramingFacts":
        """Return the record of a framing."""
        values = {field.name: getattr(framing, field.name) for field in fields(framing)}
        windows = {name: _encoded(values[name]) for name in ("analysis", "synthesis", "power")}
        return cls(**values | windows)

    @property
    def framing(self) -> Framing:
        """The framing.

        Errors:
            ParameterError: if its numbers do not fit together.
        """
        values = dict(self)
        for name in ("analysis", "synthesis", "power"):
            values[name] = None if values[name] is None else _decoded(values[name])
        return checked_framing(Framing(**values))

    @model_validator(mode="after")
    def _check(self) -> "FramingFacts":
        _ = self.framing  # its error is a ValueError, with its text
        return self


class FileFacts(Frozen):
    """The part of a record that every kind of file has.

    Attributes:
        format: Version of the record.
        desmezcla: Version of desmezcla that wrote the file.
        name: Of the release, or of the architecture where it was no release.
        weights_sha256: Checksum of the release's weights; None where it was no release.
        license: SPDX identifier of the weights' licence, or "unknown".
        stems: Names of the stems, in order.
        sample_rate: Of the model, Hz.
        channels: Of the model.
    """

    format: Literal[1] = 1
    desmezcla: str
    name: str
    weights_sha256: Sha256 | None
    license: str
    stems: tuple[StemName, ...] = Field(min_length=1)
    sample_rate: int = Field(ge=1000, le=768_000)
    channels: int = Field(ge=1, le=2)

    @model_validator(mode="after")
    def _check_stems(self) -> "FileFacts":
        if len(set(self.stems)) < len(self.stems):
            raise ValueError("each stem must have a name of its own")
        return self


FactsT = TypeVar("FactsT", bound=FileFacts)


def read_record(
    kind: type[FactsT], text: str | None, origin: str, *, noun: str, remedy: str
) -> FactsT:
    """Read the record in the metadata of a file.

    Args:
        kind: The record expected.
        text: What stands in the metadata; None if nothing does.
        origin: What to call the file in an error.
        noun: What it should be.
        remedy: How to come by a good one.

    Errors:
        ReleaseError: if there is none, or it breaks a rule.
    """
    if text is None:
        raise ReleaseError(f"{origin} is no {noun} of desmezcla; {remedy}")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ReleaseError(
            f"{origin} was written by another version of desmezcla, or is damaged "
            f"({explain(error)}); {remedy}"
        ) from error

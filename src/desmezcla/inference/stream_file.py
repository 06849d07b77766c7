"""What a stream file says of itself: all that a program needs to run it, and where it comes from.

A stream file is an ONNX file with one step of a causal model. It takes one frame of the mixture and
what the step before left, and gives that frame of the stems and what the next step is to be given.
The record stands in its metadata, as JSON. Nothing here needs PyTorch or ONNX Runtime.
"""

import base64
import binascii
from dataclasses import fields
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from desmezcla.dsp.framing import Audio, Framing, Part, checked_framing
from desmezcla.errors import ReleaseError
from desmezcla.releases.release import Frozen, Sha256, StemName, explain

METADATA_KEY = "desmezcla.stream"
"""Under which the record stands in the metadata of the file."""

StreamPrecision = Literal["float32", "int8"]

STREAM_FILES: dict[StreamPrecision, str] = {"float32": "stream.onnx", "int8": "stream-int8.onnx"}
"""Names of the stream files in the folder of a release."""

# Far more than a model for live use has; it bounds what a file can make a program allocate.
_MOST_SAMPLES = 1 << 20


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

    frame_samples: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)]
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


class StreamFacts(Frozen):
    """The record of a stream file.

    Attributes:
        format: Version of the record.
        desmezcla: Version of desmezcla that wrote the file.
        name: Of the release, or of the architecture where it was no release.
        weights_sha256: Checksum of the release's weights; None where it was no release.
        license: SPDX identifier of the weights' licence, or "unknown".
        precision: "int8" if the large products are of whole numbers.
        sample_rate: Of the model, Hz.
        channels: Of the model.
        latency_samples: What the model looks ahead, in samples of its own rate.
        framing: Where the frames lie.
    """

    format: Literal[1] = 1
    desmezcla: str
    name: str
    weights_sha256: Sha256 | None
    license: str
    precision: StreamPrecision
    stems: tuple[StemName, ...] = Field(min_length=1)
    sample_rate: int = Field(ge=1000, le=768_000)
    channels: int = Field(ge=1, le=2)
    latency_samples: int
    framing: FramingFacts

    @model_validator(mode="after")
    def _check(self) -> "StreamFacts":
        if len(set(self.stems)) < len(self.stems):
            raise ValueError("each stem must have a name of its own")
        if len(self.stems) * self.channels * self.framing.frame_samples > _MOST_SAMPLES:
            raise ValueError(f"a frame of all stems must have at most {_MOST_SAMPLES} samples")
        if self.latency_samples != self.framing.framing.latency_samples:
            raise ValueError("latency_samples must be synthesis_samples - 1")
        return self


def read_facts(text: str | None, origin: str) -> StreamFacts:
    """Read the record in the metadata of a file.

    Args:
        text: What stands under `METADATA_KEY`; None if nothing does.
        origin: What to call the file in an error.

    Errors:
        ReleaseError: if there is none, or it breaks a rule.
    """
    remedy = "write it again with: desmezcla export RELEASE --stream"
    if text is None:
        raise ReleaseError(f"{origin} is no stream file of desmezcla; {remedy}")
    try:
        return StreamFacts.model_validate_json(text)
    except ValidationError as error:
        raise ReleaseError(
            f"{origin} was written by another version of desmezcla, or is damaged "
            f"({explain(error)}); {remedy}"
        ) from error

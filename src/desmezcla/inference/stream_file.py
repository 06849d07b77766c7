"""What a stream file says of itself: all that a program needs to run it, and where it comes from.

A stream file is an ONNX file with one step of a causal model. It takes one frame of the mixture and
what the step before left, and gives that frame of the stems and what the next step is to be given.
The record stands in its metadata, as JSON. Nothing here needs PyTorch or ONNX Runtime.
"""

from typing import Literal

from pydantic import model_validator

from desmezcla.inference.file_facts import (
    MOST_FRAME_SAMPLES,
    FileFacts,
    FramingFacts,
    read_record,
)

METADATA_KEY = "desmezcla.stream"
"""Under which the record stands in the metadata of the file."""

StreamPrecision = Literal["float32", "int8"]

STREAM_FILES: dict[StreamPrecision, str] = {"float32": "stream.onnx", "int8": "stream-int8.onnx"}
"""Names of the stream files in the folder of a release."""

STREAM_REMEDY = "write it again with: desmezcla export RELEASE --stream"


class StreamFacts(FileFacts):
    """The record of a stream file.

    Attributes:
        precision: "int8" if the large products are of whole numbers.
        latency_samples: What the model looks ahead, in samples of its own rate.
        framing: Where the frames lie.
    """

    precision: StreamPrecision
    latency_samples: int
    framing: FramingFacts

    @model_validator(mode="after")
    def _check(self) -> "StreamFacts":
        if len(self.stems) * self.channels * self.framing.frame_samples > MOST_FRAME_SAMPLES:
            raise ValueError(f"a frame of all stems must have at most {MOST_FRAME_SAMPLES} samples")
        if self.latency_samples != self.framing.framing.latency_samples:
            raise ValueError("latency_samples must be synthesis_samples - 1")
        return self


def read_facts(text: str | None, origin: str) -> StreamFacts:
    """Read the record in the metadata of a file; see `read_record`."""
    return read_record(StreamFacts, text, origin, noun="stream file", remedy=STREAM_REMEDY)

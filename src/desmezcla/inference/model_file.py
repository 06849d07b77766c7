"""What a model file says of itself: all that a program needs to separate with it.

A model file is an ONNX file with the network of a model. A spectral network takes "frames"
`[1, C, N, W]`, "spectra" `[1, C, N, F, 2]` or both, of a segment, and gives "stems_frames"
`[1, S, C, N, V]`, "stems_spectra" `[1, S, C, N, F, 2]` or both; N is free. Any other takes "mix"
`[1, C, T]` and gives "stems" `[1, S, C, T]`; T is free. The record stands in its metadata, as JSON.
Nothing here needs PyTorch or ONNX Runtime.
"""

from dataclasses import asdict, fields
from typing import Annotated, Literal

from pydantic import Field, model_validator

from desmezcla.dsp.framing import Part
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.inference.file_facts import FileFacts, FramingFacts, read_record
from desmezcla.releases.release import Frozen
from desmezcla.spec import ModelSpec, ValidLengths

METADATA_KEY = "desmezcla.model"
"""Under which the record stands in the metadata of the file."""

CORE_METADATA_KEY = "desmezcla.core"
"""Under which the record of a file stands that has a network alone, and cannot be run by itself."""

FilePrecision = Literal["float32", "float16", "int8"]

MODEL_FILES: dict[FilePrecision, str] = {
    "float32": "model.onnx",
    "float16": "model-float16.onnx",
    "int8": "model-int8.onnx",
}
"""Names of the model files in the folder of a release, from the most exact."""

MODEL_REMEDY = "write it again with: desmezcla export RELEASE"

# An hour at the highest rate; it bounds what a file can make a program allocate.
_MOST_SAMPLES = 1 << 30
# Values of all frames of all stems of a segment: 4 GiB.
_MOST_VALUES = 1 << 30

Count = Annotated[int, Field(ge=0, le=_MOST_SAMPLES)]


class LengthFacts(Frozen):
    """Lengths that something takes, with the fields of `ValidLengths`."""

    minimum: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)] = 1
    depth: Annotated[int, Field(ge=0, le=32)] = 0
    # Less than 0 where more comes out of a layer than goes in.
    kernel: Annotated[int, Field(ge=-_MOST_SAMPLES, le=_MOST_SAMPLES)] = 1
    stride: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)] = 1
    oversampling: Annotated[int, Field(ge=1, le=64)] = 1

    @classmethod
    def of(cls, lengths: ValidLengths) -> "LengthFacts":
        """Return the record of lengths."""
        return cls(**asdict(lengths))

    @property
    def lengths(self) -> ValidLengths:
        """The lengths."""
        return ValidLengths(**dict(self))


class FrontEndFacts(Frozen):
    """A `FrontEnd`, with the same fields."""

    framing: FramingFacts | None
    gives: tuple[Part, ...]
    lengths: LengthFacts
    multiple_samples: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)]
    centred: bool
    level_floor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None

    @classmethod
    def of(cls, front: FrontEnd) -> "FrontEndFacts":
        """Return the record of a front end."""
        return cls(
            framing=FramingFacts.of(front.framing) if front.framing else None,
            gives=front.gives,
            lengths=LengthFacts.of(front.lengths),
            multiple_samples=front.multiple_samples,
            centred=front.centred,
            level_floor=front.level_floor,
        )

    @property
    def front_end(self) -> FrontEnd:
        """The front end."""
        return FrontEnd(
            framing=self.framing.framing if self.framing else None,
            gives=self.gives,
            lengths=self.lengths.lengths,
            multiple_samples=self.multiple_samples,
            centred=self.centred,
            level_floor=self.level_floor,
        )

    def values(self, samples: int) -> int:
        """Return how many values the network gives for a channel of a stem."""
        if self.framing is None:
            return self.lengths.lengths.above(samples)
        whole = samples + -samples % self.multiple_samples
        frames = self.lengths.lengths.above(self.framing.framing.frames(whole))
        return frames * self.framing.frame_samples

    @model_validator(mode="after")
    def _check(self) -> "FrontEndFacts":
        if self.framing is None:
            if self.gives:
                raise ValueError("gives must be empty where there is no framing")
            return self
        if self.centred or self.level_floor is not None:
            raise ValueError("centred and level_floor are for a network that takes samples")
        if not self.gives or len(set(self.gives)) < len(self.gives):
            raise ValueError("gives must be frames, spectra or both")
        if "spectra" in self.gives and self.framing.synthesis is None:
            raise ValueError("spectra are given, but there is no synthesis window for them")
        return self


class CoreFacts(FileFacts):
    """The record of a file that has the network of a model, and not what is around it.

    Attributes:
        precision: As for `ModelFacts`.
        outside: What another program has to do before and after the network.
    """

    precision: FilePrecision
    outside: str


class ModelFacts(FileFacts):
    """The record of a model file.

    Attributes:
        precision: "float16" if weights are stored so, "int8" if the large products are of whole
            numbers.
        segment_samples: This and the next seven are fields of `ModelSpec`.
        front_end: What is done before and after the network.
    """

    precision: FilePrecision
    segment_samples: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)]
    context_samples: Count
    hop_samples: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)]
    causal: bool
    latency_samples: Count
    normalise: Literal["none", "track"]
    window: Literal["crossfade", "triangle"]
    valid_lengths: LengthFacts | None
    front_end: FrontEndFacts

    @property
    def spec(self) -> ModelSpec:
        """What the engine has to know.

        Errors:
            ParameterError: if its fields do not fit together.
        """
        values = {field.name: getattr(self, field.name) for field in fields(ModelSpec)}
        valid = self.valid_lengths
        return ModelSpec(**values | {"valid_lengths": valid.lengths if valid else None})

    @model_validator(mode="after")
    def _check(self) -> "ModelFacts":
        _ = self.spec  # its error is a ValueError, with its text
        values = self.front_end.values(self.segment_samples)
        if values * len(self.stems) * self.channels > _MOST_VALUES:
            raise ValueError(f"a segment of all stems must have at most {_MOST_VALUES} values")
        return self


def read_model_facts(text: str | None, origin: str) -> ModelFacts:
    """Read the record in the metadata of a file; see `read_record`."""
    return read_record(ModelFacts, text, origin, noun="model file", remedy=MODEL_REMEDY)

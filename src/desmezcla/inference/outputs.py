"""What a user gets of the separated stems: which, under which names, and how they add up."""

from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from desmezcla.audio.formats import check_output, find_format, writable_rate
from desmezcla.errors import ParameterError
from desmezcla.inference.blocks import Block

# Names that users of demucs, Spleeter, Open-Unmix and others know for the parts of a file name.
_TEMPLATE_ALIASES = {
    "model": "model",
    "track": "track",
    "filename": "track",
    "file_name": "track",
    "trackext": "trackext",
    "stem": "stem",
    "instrument": "stem",
    "instr": "stem",
    "ext": "ext",
    "codec": "ext",
}

_STEM_MP4_ORDER = ("drums", "bass", "other", "vocals")


class OutputOptions(BaseModel):
    """What is written, and how; the fields are the options of `desmezcla separate`.

    Attributes:
        stems: Names of the stems to write; None for all.
        two_stems: Write this stem, and the sum of the others as `no_STEM`.
        residual: Write the mixture less all stems as the stem `residual`, too.
        exact_sum: Change the stem `other` (or the last one) so that the stems add up to the
            mixture exactly.
        filename: Template of the file names below the output folder.
        format: Name of a file format.
        bit_depth: "16", "24" or "32f"; None for what is nearest to the input's.
        bitrate: Bit/s of a lossy format; None for the format's default.
        sample_rate: Rate of the stems: "source", "model", or in Hz.
        start_s: Where to begin in the input, in seconds.
        duration_s: How much of the input to separate, in seconds; None for all.
        skip_existing: Leave alone what the same release and options have already separated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stems: tuple[str, ...] | None = None
    two_stems: str | None = None
    residual: bool = False
    exact_sum: bool = False
    filename: str = "{model}/{track}/{stem}.{ext}"
    format: str = "wav"
    bit_depth: Literal["16", "24", "32f"] | None = None
    bitrate: int | None = Field(None, gt=0)
    sample_rate: Literal["source", "model"] | int = "source"
    start_s: float = Field(0.0, ge=0, allow_inf_nan=False)
    duration_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    skip_existing: bool = False


def output_options(**fields: object) -> OutputOptions:
    """Build `OutputOptions`, with an error that people can read.

    Errors:
        ParameterError: if an option is unknown or out of range, or two exclude each other.
    """
    try:
        options = OutputOptions.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'][:1]))}={e['input']!r}: {e['msg']}" for e in error.errors()
        )
        raise ParameterError(problems) from error
    if options.stems is not None and options.two_stems is not None:
        raise ParameterError("stems and two_stems exclude each other; leave one out")
    if options.residual and options.exact_sum:
        raise ParameterError(
            "residual and exact_sum exclude each other: stems that add up leave no residual"
        )
    if isinstance(options.sample_rate, int) and not 1000 <= options.sample_rate <= 768_000:
        raise ParameterError(
            f"sample_rate={options.sample_rate} Hz must be from 1000 to 768000, source or model"
        )
    check_template(options.filename)
    # What depends on the input (its rate and channels) is checked when that is known.
    rate = writable_rate(options.format, 44100)
    check_output(options.format, rate, 1, options.bit_depth)
    if options.bitrate is not None and (options.bit_depth or find_format(options.format).lossless):
        raise ParameterError(
            f"bitrate={options.bitrate} has no meaning for {options.format}: it is lossless"
        )
    return options


@dataclass(frozen=True)
class StemMix:
    """How the stems of a model become the stems that are written.

    Attributes:
        of_model: Names of the model's stems.
        options: What the user wants.
        step: Quantisation step of the file's samples for `exact_sum`, so that the sum is exact in
            the files too; None if they are not integers.

    Errors:
        ParameterError: if a stem that is wanted is not among the model's.
    """

    of_model: tuple[str, ...]
    options: OutputOptions
    step: float | None = None

    def __post_init__(self) -> None:
        wanted = [*(self.options.stems or ()), *filter(None, [self.options.two_stems])]
        for stem in wanted:
            if stem not in self.of_model:
                raise ParameterError(
                    f"stem {stem!r} is not made by this release; choose from "
                    f"{', '.join(self.of_model)}"
                )
        if len(set(wanted)) != len(wanted) or self.options.stems == ():
            raise ParameterError(f"stems={wanted!r} must name one stem or more, each once")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stems that are written, in order."""
        names = self.options.stems or self._usual_order()
        if self.options.two_stems:
            names = (self.options.two_stems, f"no_{self.options.two_stems}")
        return (*names, "residual") if self.options.residual else names

    @property
    def needs_mixture(self) -> bool:
        """Whether the mixture is needed, for `apply` or for a file that holds it too."""
        options = self.options
        return options.residual or options.exact_sum or options.format == "stem.mp4"

    def apply(self, stems: Block, mixture: Block | None) -> Block:
        """Make the stems that are written.

        Shape:
            stems: `[S, C, n]`; mixture: `[C, n]`; returns `[S', C, n]`, as many as `names`.
        """
        if self.options.exact_sum and mixture is not None:
            stems = self._adding_up(stems, mixture)
        if self.options.two_stems:
            index = self.of_model.index(self.options.two_stems)
            written = np.stack([stems[index], np.delete(stems, index, axis=0).sum(axis=0)])
        else:
            names = self.options.stems or self._usual_order()
            written = stems[[self.of_model.index(stem) for stem in names]]
        if self.options.residual and mixture is not None:
            written = np.concatenate([written, (mixture - stems.sum(axis=0))[None]])
        return written

    def _usual_order(self) -> tuple[str, ...]:
        """Return the order of all stems: the model's, or the one that DJ programs expect."""
        if self.options.format == "stem.mp4" and set(self.of_model) == set(_STEM_MP4_ORDER):
            return _STEM_MP4_ORDER
        return self.of_model

    def _adding_up(self, stems: Block, mixture: Block) -> Block:
        """Give to one stem what the sum of all lacks.

        In double precision, since a sum of 24-bit samples does not fit into 24 bits.
        """
        taker = self.of_model.index("other") if "other" in self.of_model else -1
        exact = stems.astype(np.float64)
        if self.step is not None:
            exact = np.round(exact / self.step) * self.step
        exact[taker] = 0
        exact[taker] = mixture - exact.sum(axis=0)
        return exact.astype(np.float32)


def check_template(template: str) -> None:
    """Check a template of file names.

    Errors:
        ParameterError: if it names an unknown part, leaves out the stem, or leads out of the
            output folder.
    """
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ParameterError(f"filename={template!r} is not a template: {error}") from error
    for name in names:
        if name not in _TEMPLATE_ALIASES:
            raise ParameterError(
                f"filename={template!r} names {{{name}}}; it may name "
                + ", ".join(f"{{{known}}}" for known in _TEMPLATE_ALIASES)
            )
    if "stem" not in {_TEMPLATE_ALIASES[name] for name in names}:
        raise ParameterError(
            f"filename={template!r} must contain {{stem}}, or stems overwrite each other"
        )
    if Path(template).is_absolute() or ".." in Path(template).parts:
        raise ParameterError(f"filename={template!r} must stay below the output folder; use --out")


def file_name(template: str, *, model: str, track: str, trackext: str, stem: str, ext: str) -> str:
    """Fill in a checked template.

    Errors:
        ParameterError: if a part cannot be formatted as the template asks.
    """
    parts = {"model": model, "track": track, "trackext": trackext, "stem": stem, "ext": ext}
    try:
        return template.format(**{alias: parts[name] for alias, name in _TEMPLATE_ALIASES.items()})
    except (ValueError, AttributeError, IndexError, KeyError) as error:
        raise ParameterError(f"filename={template!r} cannot be filled in: {error}") from error


def track_name(path: Path) -> str:
    """Return the name of a track for its output folder: the file's name without its ending.

    >>> track_name(Path("My Song.stem.mp4")), track_name(Path("...mp3"))
    ('My Song', '_..')
    """
    name = path.name
    stem = name[: -len(".stem.mp4")] if name.lower().endswith(".stem.mp4") else path.stem
    # A track must not become the folder above.
    return stem if stem.strip(".") else f"_{stem}"

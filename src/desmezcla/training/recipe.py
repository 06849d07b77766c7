"""What a recipe is: everything that decides how a model is trained, as data."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from desmezcla.models import config_class
from desmezcla.models.base import ModelConfig
from desmezcla.releases.release import Frozen, StemName
from desmezcla.training.diagnostics.config import Diagnostics


class ModelChoice(BaseModel):
    """The architecture; every other key is a field of its `Config`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    architecture: str

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the architecture's `Config` that the recipe gives."""
        return dict(self.model_extra or {})


class Validation(Frozen):
    """How a model is scored while it is trained.

    Attributes:
        tracks: At most that many tracks, spread over the validation tracks.
        excerpt_s: Seconds from the middle of each.
        share: Share of the training tracks that is held out where a dataset has no split "valid".
        every_epochs: Validate after each so many epochs.
        monitor: What the best checkpoint, the plateau and early stopping go by: the validation
            "loss", or "sdr", the mean over the stems of the median over the tracks.
    """

    tracks: int = Field(default=16, ge=1)
    excerpt_s: float = Field(default=10.0, gt=0)
    share: float = Field(default=0.1, gt=0, lt=1)
    every_epochs: int = Field(default=1, ge=1)
    monitor: Literal["loss", "sdr"] = "loss"


class Rendering(Frozen):
    """Songs that are rendered where no dataset is given, as `desmezcla data render` does.

    Attributes:
        songs: How many.
        seed: Of the dataset.
        duration_s: Of each, in seconds; None for whole songs.
        valid: Share that is for validation.
        exclude_licences: Sounds of the material under these are left out, such as "GPL".
        exclude_files: Patterns of files of the material that are left out.
    """

    songs: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)
    duration_s: float | None = Field(default=None, gt=0)
    valid: float = Field(default=0.1, ge=0, lt=1)
    exclude_licences: tuple[str, ...] = ()
    exclude_files: tuple[str, ...] = ()


class Data(Frozen):
    """What a model is trained on.

    Attributes:
        path: Folder or manifest of the dataset; usually given as `--data`.
        render: Songs to render into the run's folder if there is no path.
        material: A folder of recorded sounds for them; usually given as `--material`. None to
            synthesise everything.
        kind: Kind of the dataset; "auto" looks for itself.
        segment_s: Length of an example, in seconds.
        random_mixing: Probability that an example takes every stem from another place and track.
        workers: Processes that read examples; 0 for none.
        cache: Folder where compressed files are kept decoded; None for the user's own.
        statistics_examples: Examples that the statistics of the input are computed from, for
            models that have such.
    """

    path: str | None = None
    render: Rendering | None = None
    material: str | None = None
    kind: str = "auto"
    segment_s: float = Field(default=6.0, gt=0)
    random_mixing: float = Field(default=1.0, ge=0, le=1)
    workers: int = Field(default=2, ge=0)
    cache: str | None = None
    statistics_examples: int = Field(default=256, ge=1)
    validation: Validation = Validation()


class Optimizer(Frozen):
    """The optimizer, by its name in `torch.optim`; "muon" has AdamW beside it, see `Muon`."""

    kind: Literal["adam", "adamw", "adadelta", "muon", "sgd", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    rho: float = Field(default=0.95, ge=0, lt=1)
    momentum: float = Field(default=0.0, ge=0, lt=1)


class Constant(Frozen):
    """The learning rate stays as it is."""

    kind: Literal["none"] = "none"


class Plateau(Frozen):
    """The learning rate falls by `factor` when validation has not improved for some epochs.

    Attributes:
        factor: Of the fall.
        patience: Validations without an improvement that are borne.
        cooldown: Validations after a fall that do not count.
    """

    kind: Literal["plateau"]
    factor: float = Field(0.3, gt=0, lt=1)
    patience: int = Field(80, ge=0)
    cooldown: int = Field(10, ge=0)


class Cosine(Frozen):
    """The learning rate rises over the warm-up, then falls as half a cosine until the end."""

    kind: Literal["cosine"]
    warmup_steps: int = Field(0, ge=0)
    minimum: float = Field(0.0, ge=0, le=1)


class Steps(Frozen):
    """The learning rate falls by `factor` after each `every_epochs`."""

    kind: Literal["step"]
    factor: float = Field(0.5, gt=0, lt=1)
    every_epochs: int = Field(ge=1)


Schedule = Annotated[Constant | Plateau | Cosine | Steps, Field(discriminator="kind")]


class Start(Frozen):
    """The release that training starts from (fine-tuning).

    Attributes:
        release: Name of a release or path of its folder; its architecture and all fields of its
            `Config` take the place of the recipe's, unless `keep_model`.
        keep_model: Only the weights are the release's; the fields of the `Config` stay the
            recipe's. For a variant whose weights have the same shapes, such as a causal one.
        stems: Train for these stems only; the networks of the others stay as they are. None for
            all.
        into: "base" for a model that wraps another (`diffusion_refiner`): the release becomes the
            model inside it, and stays as it is unless `train_base`. None for the whole model.
    """

    release: str
    keep_model: bool = False
    into: Literal["base"] | None = None
    stems: tuple[StemName, ...] | None = Field(None, min_length=1)


class Recipe(Frozen):
    """Everything that decides how a model is trained.

    Attributes:
        description: One or two sentences for the card.
        license: Of the weights that come out, as an SPDX identifier.
        stems: What the model separates.
        augmentation: In their order; see docs/augmentation.md.
        losses: See docs/losses.md.
        stem_weights: What a stem weighs in the losses, 1 where it is not named.
        batch_size: Examples per step, over all devices.
        steps_per_epoch: Steps per epoch; None to have them from `samples_per_track`.
        samples_per_track: Examples per track and epoch.
        epochs: When training ends, at the latest.
        patience: End when validation has not improved for so many epochs; None for never.
        precision: "bf16" computes products in bfloat16 and keeps the weights in float32.
        clip_norm: Largest norm of the gradient; None for any.
        ema_decay: Release an average of the weights that decays by this per step; None for the
            weights themselves.
        seed: Of everything random.
        checkpoint_minutes: Write a checkpoint at least that often; there is one after every epoch.
        checkpoint_steps: Also write one after each so many steps; None for not.
        diagnostics: What is watched meanwhile; see docs/diagnostics.md.
    """

    description: str = ""
    license: str = "unknown"
    model: ModelChoice
    stems: tuple[StemName, ...] = ("vocals", "drums", "bass", "other")
    start: Start | None = None
    data: Data = Data()
    augmentation: tuple[dict[str, Any], ...] = ()
    losses: tuple[dict[str, Any], ...] = Field(min_length=1)
    stem_weights: dict[StemName, float] = Field(default_factory=dict)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Constant()
    batch_size: int = Field(16, ge=1)
    steps_per_epoch: int | None = Field(None, ge=1)
    samples_per_track: int = Field(64, ge=1)
    epochs: int = Field(100, ge=1)
    patience: int | None = Field(None, ge=1)
    precision: Literal["float32", "bf16"] = "float32"
    clip_norm: float | None = Field(None, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    checkpoint_minutes: float = Field(10.0, gt=0)
    checkpoint_steps: int | None = Field(None, ge=1)
    diagnostics: Diagnostics = Diagnostics()

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if "stems" in self.model.fields:
            raise ValueError("model.stems is not allowed; give the stems as stems")
        return self

    def config(self) -> ModelConfig:
        """Return the model's configuration.

        Errors:
            ParameterError: if there is no such architecture.
            pydantic.ValidationError: if a field is unknown or out of range.
        """
        return config_class(self.model.architecture)(stems=self.stems, **self.model.fields)

    @property
    def trained_stems(self) -> tuple[str, ...]:
        """Return the stems that the losses look at, in the model's order."""
        chosen = self.start.stems if self.start and self.start.stems else self.stems
        return tuple(stem for stem in self.stems if stem in chosen)

    def epoch_steps(self, tracks: int) -> int:
        """Return the number of steps of an epoch on that many tracks."""
        return self.steps_per_epoch or max(1, self.samples_per_track * tracks // self.batch_size)

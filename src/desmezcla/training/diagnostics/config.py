"""The part of a recipe that says what is watched while a model is trained."""

from pydantic import Field

from desmezcla.releases.release import Frozen


class Renew(Frozen):
    """New songs, rendered when a model overfits.

    Attributes:
        songs: How many songs are rendered each time.
        seed: Of the first time; each time after it has the next one.
        material: A folder of recorded sounds; None to synthesise everything.
        duration_s: Of each song, in seconds; None for whole songs.
        keep: Also train on the dataset itself, beside the newest songs.
        most: How many times at most.
    """

    songs: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    material: str | None = None
    duration_s: float | None = Field(default=None, gt=0)
    keep: bool = True
    most: int = Field(default=10, ge=1)


class Overfitting(Frozen):
    """When a model counts as overfitted; docs/diagnostics.md has the rule as an equation.

    Attributes:
        smoothing: Weight of the past in the moving averages of the losses.
        window: Validations that the trend of the gap is taken from.
        trend: Growth of the gap per validation, as a part of the loss, that is too much.
        patience: Validations in a row with too much growth that are borne.
        renew: Render new songs then; None only to warn.
    """

    smoothing: float = Field(default=0.6, ge=0, lt=1)
    window: int = Field(default=5, ge=2)
    trend: float = Field(default=0.005, ge=0)
    patience: int = Field(default=5, ge=0)
    renew: Renew | None = None


class Diagnostics(Frozen):
    """What is watched while a model is trained.

    Attributes:
        enabled: Watch layers and numbers that are not finite; if not, no hook is ever installed.
        every_steps: Measure layers in each step whose number is a multiple of this.
        histograms: Also write histograms of activations and gradients for TensorBoard.
        tensorboard: Write for TensorBoard.
        overfitting: When a model counts as overfitted; None for not to judge it.
    """

    enabled: bool = True
    every_steps: int = Field(default=100, ge=1)
    histograms: bool = True
    tensorboard: bool = True
    overfitting: Overfitting | None = Overfitting()

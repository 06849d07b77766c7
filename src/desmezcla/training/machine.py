"""Lightning's trainer, and on what it trains."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.training.folder import RunFolder
from desmezcla.training.recipe import Recipe

if TYPE_CHECKING:
    import lightning


@dataclass(frozen=True)
class RunOptions:
    """How a training is run; nothing of it changes what is learnt in a step.

    Attributes:
        steps: Stop after so many steps in all, also in the middle of an epoch.
        time_limit_s: Stop after so many seconds of this run.
        device: "auto", "cpu", "cuda" or "mps".
        devices: Devices (for "cpu", processes) of this machine that share each step.
        nodes: Machines that share each step.
        skip_bad: Go on without tracks that have a bad file.
    """

    steps: int | None = None
    time_limit_s: float | None = None
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    skip_bad: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "devices", "nodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(f"{name}={value} must be 1 or more")
        if self.time_limit_s is not None and self.time_limit_s <= 0:
            raise ParameterError(f"time_limit_s={self.time_limit_s} must be positive")


def make_trainer(
    recipe: Recipe,
    device: torch.device,
    options: RunOptions,
    folder: RunFolder,
    callbacks: Sequence["lightning.Callback"],
) -> "lightning.Trainer":
    """Return the trainer of a run.

    Errors:
        ParameterError: if the devices do not go together.
    """
    import lightning

    several = options.devices * options.nodes > 1
    one_gpu = device.type == "cuda" and device.index is not None
    if one_gpu and several:
        raise ParameterError(
            f"device={str(device)!r} names one device, but devices={options.devices} and "
            f"nodes={options.nodes} ask for more; give device=cuda"
        )
    return lightning.Trainer(
        accelerator=device.type,
        devices=[device.index] if one_gpu else options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if several else "auto",
        # On the CPU, PyTorch has no batch statistics over several processes.
        sync_batchnorm=several and device.type == "cuda",
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        gradient_clip_val=recipe.clip_norm,
        max_epochs=-1,
        # The batches of each epoch begin where the run stands.
        reload_dataloaders_every_n_epochs=1,
        # The keeper sees to the rest.
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        default_root_dir=folder.path,
    )


def is_first_process() -> bool:
    """Whether this process is the one of all that share a training which writes."""
    return all(
        os.environ.get(name, "0") == "0"
        for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
    )


def check_extra() -> None:
    """Check that the packages of the extra are there.

    Errors:
        DesmezclaError: if one is not.
    """
    for package in ("lightning", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise DesmezclaError(
                f"training needs the package {package}, which is not installed; install it with: "
                "pip install 'desmezcla[train]'"
            )

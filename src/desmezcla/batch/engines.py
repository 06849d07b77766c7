"""Which workers do the tasks: processes of this machine, or actors on a Ray cluster."""

from dataclasses import dataclass
from typing import Any, Literal

from desmezcla.batch.driver import Make, Workers
from desmezcla.batch.processes import LocalWorkers
from desmezcla.errors import ParameterError


@dataclass(frozen=True)
class Engine:
    """Which workers, and how many.

    Attributes:
        kind: "local" for processes of this machine, "ray" for a cluster.
        jobs: How many; None for one process for each device, or for as many actors as the
            cluster has room for.
        address: Of the cluster; None for the one that Ray finds by itself (`RAY_ADDRESS`), or a new
            one on this machine.
        devices: The devices that tasks will want, as `Separator` takes them, shared out among the
            workers; on a cluster it is one, and with cuda each worker gets a GPU for itself.

    Errors:
        ParameterError: if a value is not allowed.
    """

    kind: Literal["local", "ray"] = "local"
    jobs: int | None = None
    address: str | None = None
    devices: tuple[str, ...] = ("auto",)

    def __post_init__(self) -> None:
        if self.kind not in ("local", "ray"):
            raise ParameterError(f"engine={self.kind!r} must be local or ray")
        if self.address is not None and self.kind != "ray":
            raise ParameterError(f"address={self.address!r} needs engine='ray'")
        if self.jobs is not None and self.jobs < 1:
            raise ParameterError(f"jobs={self.jobs} must be at least 1")
        if self.kind == "ray" and (len(self.devices) > 1 or ":" in self.devices[0]):
            raise ParameterError(
                f"device={','.join(self.devices)!r} cannot be chosen on a cluster: Ray gives each "
                "worker a GPU of its own; use cuda"
            )

    @property
    def is_single(self) -> bool:
        """Whether it is one process of this machine."""
        return self.kind == "local" and (self.jobs or 1) == 1

    def workers(self, make: Make, arguments: tuple[Any, ...]) -> Workers:
        """Return workers that do tasks with what `make` returns.

        Errors:
            DesmezclaError: if Ray is wanted and not installed.
        """
        if self.kind == "local":
            return LocalWorkers(make, arguments, jobs=self.jobs or len(self.devices))
        # Deferred: Ray is optional, and slow to import.
        from desmezcla.batch.cluster import RayWorkers

        return RayWorkers(
            make, arguments, jobs=self.jobs, address=self.address, device=self.devices[0]
        )

"""What a server of separation is told: where it keeps things, and how much it takes on."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from desmezcla.errors import ParameterError
from desmezcla.releases.release import explain
from desmezcla.releases.store import home_folder

MIB = 1 << 20


class Settings(BaseModel):
    """The settings of a server; its workers get the same.

    Attributes:
        data: Folder of uploads, results and, unless `database` says otherwise, the queue.
        database: Address of the queue's database as SQLAlchemy writes it, for example
            "postgresql+psycopg://user@host/name"; None for SQLite in `data`.
        workers: Processes that separate; 0 if they run elsewhere.
        device: Of the workers, as in `desmezcla separate --device`.
        max_upload_bytes: Largest file.
        max_duration_s: Longest song.
        max_jobs_per_client: Jobs of one client that wait or run.
        max_queue: Jobs of all clients that wait or run.
        max_disk_bytes: Uploads and results together.
        keep_s: How long a job is kept after its end.
        lease_s: How long a worker may be silent before its job goes to another.
        max_deaths: Workers that may die at a job before it is given up.
        live_sessions: Live tabs that are served at the same time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(default_factory=lambda: home_folder() / "studio")
    database: str | None = None
    workers: int = Field(1, ge=0, le=64)
    device: str = "auto"
    max_upload_bytes: int = Field(512 * MIB, ge=1)
    max_duration_s: float = Field(3600.0, gt=0, allow_inf_nan=False)
    max_jobs_per_client: int = Field(20, ge=1)
    max_queue: int = Field(500, ge=1)
    max_disk_bytes: int = Field(20 * 1024 * MIB, ge=1)
    keep_s: float = Field(86_400.0, gt=0, allow_inf_nan=False)
    lease_s: float = Field(15.0, ge=0.5, le=3600)
    max_deaths: int = Field(3, ge=1)
    live_sessions: int = Field(1, ge=0, le=64)

    @property
    def database_url(self) -> str:
        """Address of the queue's database."""
        return self.database or f"sqlite:///{self.data.absolute() / 'queue.sqlite'}"


def make_settings(**fields: object) -> Settings:
    """Build `Settings`, with an error that people can read.

    Errors:
        ParameterError: if a field is unknown or out of range.
    """
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        raise ParameterError(explain(error)) from error

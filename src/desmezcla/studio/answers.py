"""What the API answers, and what of it the pages show."""

from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel

from desmezcla.releases.store import ReleaseInfo
from desmezcla.studio.settings import Settings
from desmezcla.studio.tables import Job, State


class Problem(BaseModel):
    """Why a request was refused: what was given, the rule, and the remedy."""

    detail: str


class Links(BaseModel):
    """Where to go on; what is not there yet is null.

    Attributes:
        page: The job's page for people.
        events: Server-sent events.
        stems: File of each stem.
        archive: All files as a zip.
    """

    page: str
    events: str
    stems: dict[str, str]
    archive: str | None


class JobAnswer(BaseModel):
    """A job.

    Attributes:
        name: Name of the song's file.
        stems: Those that are wanted; empty for all that the release makes.
        fraction: How much is done, from 0 to 1.
        eta_s: Seconds that it will still take, as far as can be told.
        error: Why it failed.
        expires: When it is removed; null as long as it has not ended.
    """

    id: str
    name: str
    model: str
    format: str
    stems: list[str]
    state: State
    fraction: float
    eta_s: float | None
    error: str | None
    duration_s: float | None
    created: datetime
    ended: datetime | None
    expires: datetime | None
    links: Links


class ModelAnswer(BaseModel):
    """A release that can be chosen.

    Attributes:
        non_commercial: Whether the licence forbids commercial use.
        causal: Whether it can run live.
        installed: Whether this server has it; only then can it be chosen.
    """

    name: str
    aliases: list[str]
    model: str
    stems: list[str]
    sample_rate: int
    license: str
    non_commercial: bool
    trained_on: str
    description: str
    causal: bool
    installed: bool


class HealthAnswer(BaseModel):
    """How a server is.

    Attributes:
        status: "ok", or "no workers" if none has been heard of for some time.
    """

    status: Literal["ok", "no workers"]
    version: str
    workers: int
    waiting: int
    running: int


def job_answer(job: Job, settings: Settings) -> JobAnswer:
    """Return what is said of a job."""
    address = f"/api/jobs/{job.id}"
    done = job.state == "done"
    ended_s = job.ended_s
    return JobAnswer(
        id=job.id,
        name=job.name,
        model=job.model,
        format=job.format,
        stems=job.stems,
        state=job.state,  # type: ignore[arg-type]
        fraction=job.fraction,
        eta_s=job.eta_s,
        error=job.error,
        duration_s=job.duration_s,
        created=_time(job.created_s),
        ended=None if ended_s is None else _time(ended_s),
        expires=None if ended_s is None else _time(ended_s + settings.keep_s),
        links=Links(
            page=f"/jobs/{job.id}",
            events=f"{address}/events",
            stems={stem: f"{address}/stems/{stem}" for stem in job.files} if done else {},
            archive=f"{address}/archive" if done else None,
        ),
    )


def model_answer(info: ReleaseInfo) -> ModelAnswer:
    """Return what is said of a release."""
    return ModelAnswer(
        name=info.name,
        aliases=list(info.aliases),
        model=info.model,
        stems=list(info.stems),
        sample_rate=info.sample_rate,
        license=info.license,
        non_commercial="NC" in info.license.upper().split("-"),
        trained_on=info.trained_on,
        description=info.description,
        causal=info.causal,
        installed=info.installed,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)

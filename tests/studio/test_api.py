"""A job from its song to its stems, through the API."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from desmezcla.inference.offline import Separator
from desmezcla.studio.clients import COOKIE
from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job

STEMS = ["vocals", "drums", "bass", "other"]

Work = Callable[[], int]


def sent(client: TestClient, song: bytes, name: str = "song.wav", **fields: str) -> Any:
    answer = client.post(
        "/api/jobs", files={"file": (name, song)}, data={"model": "baseline"} | fields
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


def separated(song: bytes, folder: Path, **options: Any) -> dict[str, bytes]:
    """Return the bytes that `desmezcla separate` writes for each stem."""
    path = folder / "input.wav"
    path.write_bytes(song)
    separator = Separator("baseline", device="cpu")
    result = separator.separate_file(path, folder / "expected", **options)
    return {stem: file.read_bytes() for stem, file in result.paths.items()}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        (
            {"format": "flac", "stems": "bass,vocals"},
            {"format": "flac", "stems": ("bass", "vocals")},
        ),
        ({"format": "mp3"}, {"format": "mp3"}),
        ({"format": "stem.mp4"}, {"format": "stem.mp4", "filename": "{stem}.{ext}"}),
    ],
)
def test_a_song_becomes_the_stems_of_the_command(
    client: TestClient,
    song: bytes,
    work: Work,
    tmp_path: Path,
    fields: dict[str, str],
    options: dict[str, Any],
) -> None:
    job = sent(client, song, **fields)
    assert job["state"] == "waiting"
    assert job["links"]["stems"] == {}
    assert client.get(f"/api/jobs/{job['id']}/archive").status_code == 409
    assert work() == 1
    job = client.get(f"/api/jobs/{job['id']}").json()
    assert (job["state"], job["fraction"], job["error"]) == ("done", 1.0, None)
    expected = separated(song, tmp_path, **options)
    got = {stem: client.get(link).content for stem, link in job["links"]["stems"].items()}
    assert got == expected


def test_the_archive_holds_all_and_tells_how_it_was_made(
    client: TestClient, song: bytes, work: Work
) -> None:
    job = sent(client, song, "Canción/Ñu.wav")
    work()
    answer = client.get(f"/api/jobs/{job['id']}/archive")
    assert unquote(answer.headers["content-disposition"]) == "attachment; filename*=utf-8''Ñu.zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [f"Ñu/{s}.wav" for s in STEMS] + ["Ñu/separation.json"]
        record = json.loads(archive.read("Ñu/separation.json"))
        stems = [soundfile.read(io.BytesIO(archive.read(f"Ñu/{s}.wav")))[0] for s in STEMS]
    assert record["input"]["name"] == "Ñu.wav"
    assert record["stems"] == {stem: f"{stem}.wav" for stem in STEMS}
    assert {stem.shape for stem in stems} == {soundfile.read(io.BytesIO(song))[0].shape}


def test_the_desk_gets_parts_of_samples(client: TestClient, song: bytes, work: Work) -> None:
    job = sent(client, song, format="mp3")
    work()
    address = f"/api/jobs/{job['id']}/preview"
    facts = client.get(address).json()
    assert facts["stems"] == STEMS
    part = client.get(f"{address}/bass/samples", headers={"Range": "bytes=400-799"})
    assert part.status_code == 206
    whole = np.frombuffer(client.get(f"{address}/bass/samples").content, "<i2")
    np.testing.assert_array_equal(np.frombuffer(part.content, "<i2"), whole[200:400])
    assert len(whole) == facts["length_samples"] * facts["channels"]
    picture = client.get(f"{address}/bass/spectrogram").content
    assert len(picture) == facts["columns"] * facts["bands"]


def test_a_deleted_job_is_gone_with_its_files(
    client: TestClient, song: bytes, work: Work, settings: Settings
) -> None:
    job = sent(client, song)
    work()
    address = f"/api/jobs/{job['id']}"
    assert client.delete(address).status_code == 204
    for path in ("", "/archive", "/stems/bass", "/events", "/preview"):
        answer = client.get(address + path)
        assert answer.status_code == 404
        assert "no such job" in answer.json()["detail"]
    assert client.delete(address).status_code == 404
    files = [path for path in settings.data.rglob("*") if path.is_file()]
    assert all(path.name.startswith("queue.sqlite") for path in files)


def test_cancel_and_retry(client: TestClient, song: bytes, work: Work) -> None:
    address = f"/api/jobs/{sent(client, song)['id']}"
    assert client.post(f"{address}/retry").status_code == 409
    assert client.post(f"{address}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{address}/cancel").status_code == 409
    assert work() == 0
    assert client.post(f"{address}/retry").json()["state"] == "waiting"
    assert work() == 1
    assert client.get(address).json()["state"] == "done"
    assert client.post(f"{address}/retry").status_code == 409


def test_events_tell_a_job_to_its_end(client: TestClient, song: bytes, work: Work) -> None:
    job = sent(client, song)
    work()
    answer = client.get(f"/api/jobs/{job['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("event: job\r\ndata: {")
    last = json.loads(answer.text.strip().splitlines()[-1].removeprefix("data: "))
    assert last == client.get(f"/api/jobs/{job['id']}").json()


def test_a_browser_lists_its_own_jobs_and_no_others(client: TestClient, song: bytes) -> None:
    sent(client, song, "of nobody.wav")
    assert client.get("/api/jobs").json() == []
    assert client.get("/").status_code == 200
    assert len(client.cookies[COOKIE]) == 22
    first, second = sent(client, song, "first.wav"), sent(client, song, "second.wav")
    assert [job["id"] for job in client.get("/api/jobs").json()] == [second["id"], first["id"]]
    client.cookies.clear()
    client.cookies.set(COOKIE, "x" * 22)
    assert client.get("/api/jobs").json() == []


def test_models_and_health(client: TestClient, store: JobStore, song: bytes) -> None:
    models = {model["name"]: model for model in client.get("/api/models").json()}
    assert models["baseline"]["installed"]
    assert models["baseline"]["stems"] == STEMS
    assert models["umxl"]["non_commercial"]
    assert not models["umxl"]["installed"]
    health = client.get("/api/health").json()
    assert (health["status"], health["workers"], health["waiting"]) == ("no workers", 0, 0)
    sent(client, song)
    store.seen("worker", None)
    health = client.get("/api/health").json()
    assert (health["status"], health["workers"], health["waiting"]) == ("ok", 1, 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "nothing"}, "does not exist; choose from baseline"),
        ({"model": "htdemucs"}, "desmezcla models download htdemucs"),
        ({"model": "../../baseline"}, "does not exist"),
        ({"format": "exe"}, "cannot be written; choose one of wav"),
        ({"stems": "vocals,kazoo"}, "'kazoo' is not made by this release"),
        ({"shifts": "3"}, "'shifts' is unknown"),
    ],
)
def test_what_cannot_be_ordered_is_said(
    client: TestClient, song: bytes, settings: Settings, fields: dict[str, str], words: str
) -> None:
    answer = client.post("/api/jobs", files={"file": ("a.wav", song)}, data=fields)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert list((settings.data / "uploads").iterdir()) == []


def test_a_release_may_be_named_by_its_path_on_the_command_line_only(
    client: TestClient, song: bytes
) -> None:
    import desmezcla.releases.store as releases

    folder = str(releases.BUNDLED / "baseline")
    answer = client.post("/api/jobs", files={"file": ("a.wav", song)}, data={"model": folder})
    assert answer.status_code == 422


def test_a_format_that_cannot_hold_the_song_is_refused_at_once(
    client: TestClient, make_song: Callable[..., bytes]
) -> None:
    surround = io.BytesIO()
    soundfile.write(surround, np.zeros((4410, 6)), 44100, format="WAV")
    files = {"file": ("a.wav", surround.getvalue())}
    answer = client.post("/api/jobs", files=files, data={"format": "mp3"})
    assert answer.status_code == 422
    assert "channels=6 does not fit mp3" in answer.json()["detail"]


def test_results_expire(
    client: TestClient, song: bytes, work: Work, settings: Settings, store: JobStore
) -> None:
    from desmezcla.studio.supervisor import Supervisor

    done, waiting = sent(client, song)["id"], None
    work()
    waiting = sent(client, song)["id"]
    soon = settings.model_copy(update={"keep_s": 1e-3, "workers": 0})
    Supervisor(soon, store).clean()
    assert client.get(f"/api/jobs/{done}").status_code == 404
    assert client.get(f"/api/jobs/{waiting}").status_code == 200
    assert list((settings.data / "results").iterdir()) == []


def test_a_job_says_when_it_expires(
    client: TestClient, store: JobStore, make_job: Callable[..., Job], settings: Settings
) -> None:
    from datetime import datetime

    job = make_job()
    store.add(job)
    claimed = store.claim("w")
    assert claimed is not None
    store.fail(claimed, "an error")
    told = client.get(f"/api/jobs/{job.id}").json()
    ended, expires = (datetime.fromisoformat(told[key][:19]) for key in ("ended", "expires"))
    assert told["error"] == "an error"
    assert abs((expires - ended).total_seconds() - settings.keep_s) < 2

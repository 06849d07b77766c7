"""What is sent with bad intent, or by mistake, is refused with a reason, and leaves nothing."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from desmezcla.studio.settings import Settings
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job

MakeClient = Callable[..., TestClient]
Work = Callable[[], int]
TOKEN = "a-token-of-sixteen-or-more"


def sent(client: TestClient, content: bytes, name: str = "song.wav", **options: Any) -> Any:
    return client.post(
        "/api/jobs", files={"file": (name, content)}, data={"model": "baseline"}, **options
    )


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("song.wav", bytes(10_000_000))
    return file.getvalue()


def wav(header_bytes: int, rate: int = 44100, channels: int = 2, data: bytes = bytes(400)) -> bytes:
    """Return a WAV file whose header says that it has so many bytes of samples."""
    kind = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * 4, 4, 16)
    size = min(header_bytes + 36, 2**32 - 1)
    return (
        struct.pack("<4sI4s", b"RIFF", size, b"WAVE")
        + kind
        + struct.pack("<4sI", b"data", min(header_bytes, 2**32 - 1))
        + data
    )


def silent_flac(seconds: float, *, says_length: bool = True) -> bytes:
    """Return hours in a few bytes; without a length in its header if it is to say none."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(seconds * 8000), np.int16), 8000, format="FLAC")
    content = bytearray(file.getvalue())
    if not says_length:
        content[21] &= 0xF0
        content[22:26] = bytes(4)
    return bytes(content)


PLAYLIST = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
FFCONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (zip_bomb(), "songs.zip"),
        (zip_bomb(), "song.wav"),
        (b"<html>no song</html>", "song.mp3"),
        (b"\x7fELF" + bytes(1000), "song.wav"),
        (PLAYLIST, "song.m3u8"),
        (FFCONCAT, "song.wav"),
        (b"RIFF", "song.wav"),
        (bytes(100_000), "song.flac"),
        (wav(400, rate=0), "song.wav"),
        (wav(400, channels=60000), "song.wav"),
        (wav(400, rate=2_000_000), "song.wav"),
    ],
)
def test_what_is_no_song_is_refused(
    client: TestClient, settings: Settings, store: JobStore, content: bytes, name: str
) -> None:
    answer = sent(client, content, name)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert name in detail
    assert str(settings.data) not in detail
    assert store.ids() == set()
    assert list((settings.data / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../../etc/cron.d/x.wav", "..\\x.wav", "/etc/x.wav", "a/b\\x.wav"]
)
def test_names_are_labels(
    client: TestClient, song: bytes, work: Work, settings: Settings, name: str
) -> None:
    before = set(Path("/etc").glob("*"))
    job = sent(client, song, name).json()
    assert job["name"] == "x.wav"
    work()
    files = [path for path in settings.data.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.suffix == ".wav"} == {
        f"{stem}.wav" for stem in ("vocals", "drums", "bass", "other")
    }
    assert set(Path("/etc").glob("*")) == before
    answer = client.get(f"/api/jobs/{job['id']}/stems/vocals")
    assert (
        answer.headers["content-disposition"] == "attachment; filename*=utf-8''x%20-%20vocals.wav"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/../../etc/passwd",
        "/api/jobs/..%2f..%2fetc%2fpasswd",
        "/api/jobs/%00",
        "/api/jobs/" + "x" * 5000,
        "/static/studio/../settings.py",
        "/static/studio/..%2fsettings.py",
        "/jobs/%2e%2e",
    ],
)
def test_paths_lead_nowhere(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_stems_are_found_by_name_only(client: TestClient, song: bytes, work: Work) -> None:
    job = sent(client, song).json()
    work()
    for stem in ("%2e%2e", "vocals.wav", "..%2f..%2fqueue.sqlite", "separation.json", "%00"):
        for path in (f"stems/{stem}", f"preview/{stem}/samples"):
            assert client.get(f"/api/jobs/{job['id']}/{path}").status_code == 404


def test_a_header_that_says_more_than_there_is_counts_for_nothing(
    client: TestClient, work: Work
) -> None:
    """Hours in the header, a second in the file: that is separated."""
    job = sent(client, wav(2**31, data=bytes(44100 * 4))).json()
    assert job["duration_s"] == 1.0
    work()
    job = client.get(f"/api/jobs/{job['id']}").json()
    assert job["state"] == "done"
    assert len(client.get(job["links"]["stems"]["bass"]).content) < 200_000


def test_a_long_song_in_a_small_file_is_refused(
    make_client: MakeClient, settings: Settings, store: JobStore
) -> None:
    client = make_client(settings.model_copy(update={"max_duration_s": 60.0}))
    answer = sent(client, silent_flac(600.0), "song.flac")
    assert answer.status_code == 422
    assert "10.0 minutes, but at most 1 are" in answer.json()["detail"]
    assert store.ids() == set()


def test_a_song_that_does_not_say_its_length_ends_when_it_is_too_long(
    make_client: MakeClient, settings: Settings, store: JobStore
) -> None:
    from desmezcla.studio.worker import Worker

    short = settings.model_copy(update={"max_duration_s": 60.0})
    client = make_client(short)
    answer = sent(client, silent_flac(600.0, says_length=False), "song.flac")
    assert answer.status_code == 202, answer.text
    worker = Worker("w", short)
    job = store.claim("w")
    assert job is not None
    worker.do(job)
    worker.store.close()
    told = client.get(f"/api/jobs/{job.id}").json()
    assert told["state"] == "failed"
    assert "at most 1 are allowed" in told["error"]


def test_a_file_that_says_it_is_too_large_is_not_read(
    make_client: MakeClient, settings: Settings
) -> None:
    client = make_client(settings.model_copy(update={"max_upload_bytes": 1000}))
    answer = client.post(
        "/api/jobs",
        content=b"x",
        headers={
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": str(10 * 2**30),
        },
    )
    assert answer.status_code == 413
    assert "the most that this server takes" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"


def test_a_file_that_does_not_say_its_size_is_cut_off(
    make_client: MakeClient, settings: Settings
) -> None:
    client = make_client(settings.model_copy(update={"max_upload_bytes": 100_000}))
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(10_000):
            yield bytes(65536)

    answer = client.post(
        "/api/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 413
    assert list((settings.data / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "kind",
    ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 5000, ""],
)
def test_what_is_no_form_is_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/api/jobs", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code in (400, 415)
    assert answer.json()["detail"]


def test_one_client_has_so_many_jobs_and_all_have_so_many(
    make_client: MakeClient, settings: Settings, song: bytes
) -> None:
    limits = {"max_jobs_per_client": 2, "max_queue": 3}
    client = make_client(settings.model_copy(update=limits))
    client.get("/")
    assert [sent(client, song).status_code for _ in range(3)] == [202, 202, 429]
    other = make_client(settings.model_copy(update=limits))
    assert [sent(other, song).status_code for _ in range(2)] == [202, 503]


def test_the_disk_has_an_end(
    make_client: MakeClient, settings: Settings, store: JobStore, song: bytes
) -> None:
    client = make_client(settings.model_copy(update={"max_disk_bytes": 3_000_000}))
    assert sent(client, song).status_code == 202
    answer = sent(client, song)
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["detail"]
    assert len(store.ids()) == 1


@pytest.fixture
def guarded(make_client: MakeClient, settings: Settings) -> TestClient:
    return make_client(settings, host="0.0.0.0", token=TOKEN)


@pytest.mark.parametrize("given", [None, "wrong", TOKEN + "x", ""])
def test_without_the_token_nothing_is_told(
    guarded: TestClient,
    store: JobStore,
    make_job: Callable[..., Job],
    given: str | None,
    song: bytes,
) -> None:
    job = make_job()
    store.add(job)
    headers = {} if given is None else {"Authorization": f"Bearer {given}"}
    for path in ("/", "/docs", "/openapi.json", "/live", f"/jobs/{job.id}", f"/api/jobs/{job.id}"):
        assert guarded.get(path, headers=headers).status_code == 401
    assert sent(guarded, song, headers=headers).status_code == 401
    assert guarded.delete(f"/api/jobs/{job.id}", headers=headers).status_code == 401
    assert store.ids() == {job.id}


def test_with_the_token_all_is_open(guarded: TestClient, song: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=headers).status_code == 200
    assert sent(guarded, song, headers=headers).status_code == 202
    assert guarded.get(f"/?token={TOKEN}").status_code == 200  # and then the cookie does
    assert guarded.get("/api/jobs").status_code == 200


def test_a_page_elsewhere_can_do_nothing(client: TestClient, song: bytes) -> None:
    assert sent(client, song, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400

"""The server: pages, answers, who may do what, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from desmezcla.listening.app import listening_app
from desmezcla.listening.design import ListeningTest, read_design
from desmezcla.listening.steps import current_step
from desmezcla.listening.store import Store

TOKEN = "t" * 20
OWNER = {"Authorization": f"Bearer {TOKEN}"}
CHANGE = "0123456789abcdef"


@pytest.fixture
def design(finished_test: Path) -> ListeningTest:
    return read_design(finished_test)


@pytest.fixture
def client(finished_test: Path, design: ListeningTest, store: Store) -> Iterator[TestClient]:
    app = listening_app(finished_test, design, store, host="127.0.0.1", token=TOKEN)
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture
def link(store: Store) -> str:
    (id,) = store.add_listeners(1) or ()
    return f"/p/{id}"


def put(
    client: TestClient, link: str, item: str, scale: str, value: str, *, number: int = 0
) -> int:
    body = {"value": value, "revision": 0, "change": f"{number:016x}"}
    answer = client.put(f"/api{link}/answers/{item}/{scale}", json=body)
    return answer.status_code


def go_on(client: TestClient, store: Store, design: ListeningTest, link: str) -> str:
    """Answer the page where a listener is, and return its name."""
    listener = store.listener(link[3:])
    assert listener is not None
    step, _, _ = current_step(design, listener)
    for scale, choices in step.scales.items():
        assert put(client, link, step.name, scale, choices[0]) == 200
    return step.name


def test_a_listener_goes_from_the_consent_to_the_end(
    client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    seen: list[str] = []
    pages: list[str] = []
    for _ in range(40):
        page = client.get(link, headers={"Accept-Language": "es-AR,es;q=0.9"})
        assert (page.status_code, page.headers["Content-Language"]) == (200, "es")
        pages.append(page.text)
        place = client.get(f"/api{link}").json()
        assert (place["done"], place["steps"]) == (len(seen), 6 + 18 + 4)
        if client.get(f"/api{link}").json()["step"] == "done":
            break
        seen.append(go_on(client, store, design, link))
    trials = [f"t{place}" for place in range(1, 4 * 4 + 2 + 1)]
    assert seen == [
        *("consent", "before", "songs", "instructions", "calibration"),
        *trials,
        *("m1", "m2", "m3", "m4", "after"),
    ]
    assert "The laboratory" in pages[0]
    assert all(word in pages[5] for word in ("Malo", "Pobre", "Regular", "Bien", "Excelente"))
    assert "¡Gracias!" in pages[-1]
    # Whatever a browser gets, it does not tell which system is heard.
    everything = " ".join(pages)
    assert "anchor" not in everything
    assert all(f">{name}<" not in everything and f'"{name}"' not in everything
               for name in ("good", "bad", "reference"))  # fmt: skip


def test_the_labels_are_there_in_english(
    client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    for _ in range(5):
        go_on(client, store, design, link)
    page = client.get(link).text
    assert all(word in page for word in ("Bad", "Poor", "Fair", "Good", "Excellent"))


def test_coming_back_shows_the_same_page_with_what_was_answered(
    client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    for _ in range(5):
        go_on(client, store, design, link)
    assert put(client, link, "t1", "quality", "4") == 200
    for _ in range(2):
        page = client.get(link).text
        assert 'name="quality" value="4" checked' in page
        assert '"revisions": {"quality": 1}' in page
        assert client.get(f"/api{link}").json()["step"] == "t1"


def test_two_tabs_are_told_of_each_other(
    client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    for _ in range(5):
        go_on(client, store, design, link)
    url = f"/api{link}/answers/t1/quality"
    one = {"value": "4", "revision": 0, "change": "a" * 16}
    two = {"value": "2", "revision": 0, "change": "b" * 16}
    assert client.put(url, json=one).json() == {"value": "4", "revision": 1, "accepted": True}
    refused = client.put(url, json=two)
    assert (refused.status_code, refused.json()["value"]) == (409, "4")
    knowing = two | {"revision": 1, "change": "c" * 16}
    assert client.put(url, json=knowing).json() == {"value": "2", "revision": 2, "accepted": True}


def test_audio_is_sent_without_a_date_and_kept(
    client: TestClient, design: ListeningTest, link: str
) -> None:
    name = design.excerpts[0].stimuli[0].file
    answer = client.get(f"{link}/audio/{name}")
    assert answer.status_code == 200
    assert answer.content[:4] == b"fLaC"
    assert "immutable" in answer.headers["Cache-Control"]
    assert not {"last-modified", "etag"} & set(answer.headers)


def test_the_owner_sees_progress_makes_links_and_gets_the_answers(
    client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    assert client.get("/", headers=OWNER, follow_redirects=False).headers["location"] == "/admin"
    go_on(client, store, design, link)
    assert link in client.get("/admin", headers=OWNER).text
    made = client.post("/api/admin/listeners", json={"count": 3}, headers=OWNER)
    assert (made.status_code, len(set(made.json()))) == (201, 3)
    progress = client.get("/api/admin/listeners", headers=OWNER).json()
    assert [one["number"] for one in progress] == [1, None, None, None]
    assert (progress[0]["trials_done"], progress[0]["trials"]) == (0, 22)
    table = client.get("/api/admin/answers.csv", headers=OWNER)
    assert table.text.splitlines()[1].startswith("1,consent,0,False,,,,,agree,yes,1,")
    assert link[3:] not in table.text
    assert client.delete(f"/api/admin/listeners/{link[3:]}", headers=OWNER).status_code == 204
    assert client.get(link).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("/", "/admin", "/api/admin/listeners", "/openapi.json")),
        ("GET", "/api/admin/answers.csv"),
        ("POST", "/api/admin/listeners"),
        ("DELETE", "/api/admin/listeners/" + "x" * 22),
        ("GET", "/join"),
        ("GET", "/test.yaml"),
        ("GET", "/answers.sqlite"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer " + "w" * 20}])
def test_only_the_owner_gets_anything_else(
    method: str, path: str, headers: dict[str, str], client: TestClient
) -> None:
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert "token" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/p/" + "x" * 22, 404),
        ("/p/short", 422),
        ("/p/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("{link}/audio/../../../test.yaml", 401),
        ("{link}/audio/..%2f..%2ftest.yaml", 404),
        ("{link}/audio/%00", 422),
        ("{link}/audio/" + "a" * 24, 404),
        ("/p/" + "x" * 22 + "/audio/" + "a" * 24, 404),
        ("/static/listening/../../app.py", 401),
        ("/static/listening/%2e%2e/app.py", 404),
        ("/api/p/" + "x" * 22, 404),
    ],
)
def test_tricks_with_paths_are_refused(
    path: str, status: int, client: TestClient, link: str
) -> None:
    answer = client.get(path.format(link=link))
    assert answer.status_code == status
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b'{"value": 5, "revision": 0, "change": "0123456789abcdef"}', "value"),
        (b'{"value": "5", "revision": -1, "change": "0123456789abcdef"}', "revision"),
        (b'{"value": "5", "revision": 1e99, "change": "0123456789abcdef"}', "revision"),
        (b'{"value": "5", "revision": 0, "change": "x"}', "change"),
        (b'{"value": "\\ud800", "revision": 0, "change": "0123456789abcdef"}', "value"),
        (b'{"value": "6", "revision": 0, "change": "0123456789abcdef"}', "value='6'"),
        (b'{"value": "5", "revision": 0, "change": "0123456789abcdef", "\\ud800": 1}', "unicode"),
        (
            b'{"value": "5", "revision": 0, "change": "0123456789abcdef", "listened_s": NaN}',
            "listened_s",
        ),
    ],
)
def test_answers_of_the_wrong_kind_are_refused(
    body: bytes, named: str, client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    for _ in range(5):
        go_on(client, store, design, link)
    answer = client.put(
        f"/api{link}/answers/t1/quality", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_answers_to_what_is_not_asked_are_refused(
    client: TestClient, store: Store, design: ListeningTest, link: str
) -> None:
    assert put(client, link, "t1", "quality", "3") == 409  # before the consent
    go_on(client, store, design, link)
    assert put(client, link, "t99", "quality", "3") == 404
    assert put(client, link, "t1", "beauty", "3") == 404
    assert put(client, link, "before", "device", "loud") == 422
    assert put(client, "/p/" + "x" * 22, "t1", "quality", "3") == 404


def test_pages_of_others_cannot_send_answers(client: TestClient, link: str) -> None:
    body = {"value": "yes", "revision": 0, "change": CHANGE}
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        url = f"/api{link}/answers/consent/agree"
        assert client.put(url, json=body, headers=headers).status_code in (400, 403)


def test_anybody_can_join_an_open_test(
    finished_test: Path, design: ListeningTest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desmezcla.listening.app.OPEN_LIMIT", 1)
    app = listening_app(finished_test, design, store, host="127.0.0.1", token=TOKEN, open=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert "Get my link" in client.get("/join").text
        joined = client.post("/join", follow_redirects=False)
        assert joined.status_code == 303
        assert client.get(joined.headers["location"]).status_code == 200
        full = client.post("/join", follow_redirects=False)
        assert (full.status_code, "1 listeners" in full.json()["detail"]) == (503, True)
        assert client.get("/admin").status_code == 401

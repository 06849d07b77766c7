"""Who is let in: names of the server, tokens, and pages that requests come from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from desmezcla.errors import ParameterError
from desmezcla.web.access import COOKIE, check_token, is_loopback, new_token
from desmezcla.web.app import RequestError, make_app

TOKEN = "a-token-that-is-long-enough"
SOCKET = "ws://127.0.0.1:8000/socket"
WORLD = "http://studio.example:8000"


def app(host: str, token: str | None) -> FastAPI:
    made = make_app("test", host=host, token=token, static={}, open_paths=("/open/",))

    @made.api_route("/thing", methods=["GET", "POST"])
    def thing() -> str:
        return "done"

    @made.get("/open/thing")
    def open_thing() -> str:
        return "done"

    @made.get("/refusing")
    def refusing() -> None:
        raise RequestError(413, "size=9 is above 5; send less")

    @made.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    @made.websocket("/socket")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        await connection.send_text("hello")
        await connection.close()

    return made


@pytest.fixture
def local() -> Iterator[TestClient]:
    with TestClient(app("127.0.0.1", None), "http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def guarded() -> Iterator[TestClient]:
    with TestClient(app("0.0.0.0", TOKEN), WORLD, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    check_token(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "studio.example", ""])
def test_a_network_needs_a_token(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ParameterError, match="--token"):
        check_token(host, None)
    check_token(host, new_token())


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ParameterError, match="6 characters"):
        check_token("127.0.0.1", "secret")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_a_local_server_answers_to_its_own_names(local: TestClient, host: str) -> None:
    assert local.get("/thing", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", ""]
)
def test_a_local_server_answers_to_no_other_name(local: TestClient, host: str) -> None:
    answer = local.get("/thing", headers={"host": host})
    assert answer.status_code == 400
    assert "localhost" in answer.json()["detail"]


def test_pages_of_others_can_change_nothing(local: TestClient) -> None:
    def status(origin: str) -> int:
        return local.post("/thing", headers={"origin": origin}).status_code

    assert local.post("/thing").status_code == 200
    assert status("http://127.0.0.1:8000") == 200
    assert status("http://evil.example") == 403
    assert status("http://127.0.0.1:9000") == 403
    assert status("null") == 403


def test_sockets_are_guarded_too(local: TestClient, guarded: TestClient) -> None:
    with local.websocket_connect(SOCKET) as socket:
        assert socket.receive_text() == "hello"
    foreign = {"origin": "http://evil.example"}
    with pytest.raises(WebSocketDisconnect), local.websocket_connect(SOCKET, headers=foreign):
        pass
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("/socket"):
        pass
    bearer = {"authorization": f"Bearer {TOKEN}"}
    with guarded.websocket_connect("/socket", headers=bearer) as socket:
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize(
    "given", ["", "Bearer ", f"Bearer {TOKEN}x", TOKEN, "Basic abc", "Bearer é"]
)
def test_wrong_tokens_are_refused(guarded: TestClient, given: str) -> None:
    answer = guarded.get("/thing", headers=[(b"authorization", given.encode())])
    assert answer.status_code == 401
    assert "token" in answer.json()["detail"]
    assert guarded.get("/thing", headers={"cookie": f'{COOKIE}="{TOKEN}'}).status_code == 401


@pytest.mark.parametrize("given", ["", "é", f"{TOKEN}x", TOKEN[:-1], TOKEN.upper()])
def test_wrong_tokens_in_the_address_are_refused(guarded: TestClient, given: str) -> None:
    assert guarded.get("/thing", params={"token": given}).status_code == 401


def test_the_token_leaves_the_address_and_stays_as_a_cookie(guarded: TestClient) -> None:
    answer = guarded.get("/thing", params={"token": TOKEN, "lang": "es"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/thing?lang=es"
    kept = answer.headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert guarded.get("/thing").status_code == 200
    elsewhere = guarded.get(f"{WORLD}//evil.example", params={"token": TOKEN})
    assert elsewhere.headers["location"] == "/evil.example"


def test_people_are_asked_for_the_token_on_a_page(guarded: TestClient) -> None:
    people = {"accept": "text/html,*/*;q=0.8", "accept-language": "es"}
    asked = guarded.get("/thing", headers=people)
    assert asked.status_code == 401
    assert 'name="token"' in asked.text
    assert "Este servidor pide una clave" in asked.text
    assert guarded.post("/thing", headers=people).json()["detail"]
    entered = guarded.get("/thing", params={"token": TOKEN}, headers=people)
    assert entered.status_code == 303


def test_open_paths_need_no_token(guarded: TestClient) -> None:
    assert guarded.get("/open/thing").status_code == 200
    assert guarded.get("/static/web/base.css").status_code == 200
    assert guarded.get("/openapi.json").status_code == 401


@pytest.mark.parametrize("path", ["/thing", "/missing", "/static/web/base.css", "/refusing"])
def test_every_answer_has_the_security_headers(local: TestClient, path: str) -> None:
    headers = local.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_errors_have_the_status_and_the_text_that_they_should(tmp_path: Path) -> None:
    with TestClient(
        app("127.0.0.1", None), "http://localhost", raise_server_exceptions=False
    ) as client:
        refused = client.get("/refusing")
        assert (refused.status_code, refused.json()) == (
            413,
            {"detail": "size=9 is above 5; send less"},
        )
        broken = client.get("/broken")
        assert broken.status_code == 500
        assert "secret" not in broken.text
        assert broken.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/static/web/../app.py", "/static/web/%2e%2e/app.py", "/static/"])
def test_static_files_end_at_their_folder(local: TestClient, path: str) -> None:
    assert local.get(path).status_code == 404

"""The API as its description tells it: whatever is sent, the server makes no mistake."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from desmezcla.listening.app import listening_app
from desmezcla.listening.design import ANSWERS_FILE, read_design
from desmezcla.listening.store import Store

from .conftest import answer_all

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis, which makes requests from the description, is missing"
)

TOKEN = "o" * 20
EXAMPLES = 60
OPERATIONS = (
    ("GET", "/p/{listener}"),
    ("GET", "/p/{listener}/audio/{name}"),
    ("GET", "/api/p/{listener}"),
    ("PUT", "/api/p/{listener}/answers/{item}/{scale}"),
    ("GET", "/admin"),
    ("GET", "/api/admin/listeners"),
    ("POST", "/api/admin/listeners"),
    ("DELETE", "/api/admin/listeners/{listener}"),
    ("GET", "/api/admin/answers.csv"),
    ("GET", "/join"),
    ("POST", "/join"),
)


@pytest.fixture(scope="module")
def served(
    finished_test: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, str]]:
    """Give the described API of a test, and the link of a listener in the middle of it."""
    design = read_design(finished_test)
    with Store(tmp_path_factory.mktemp("api") / ANSWERS_FILE) as store:
        link = answer_all(store, design, lambda *_: 3, stop_after=8)
        app = listening_app(finished_test, design, store, host="127.0.0.1", token=TOKEN, open=True)
        headers = {"Host": "127.0.0.1", "Authorization": f"Bearer {TOKEN}"}
        yield schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers), link


def test_the_description_tells_of_everything(served: tuple[Any, str]) -> None:
    schema, _ = served
    found = {
        (operation.method.upper(), operation.path)
        for operation in (result.ok() for result in schema.get_all_operations())
    }
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [(*operation, False) for operation in OPERATIONS]
    # Not removing: the listener would be gone.
    + [(m, path, True) for m, path in OPERATIONS if "{listener}" in path and m != "DELETE"],
)
def test_no_request_makes_the_server_fail(
    method: str, path: str, known: bool, served: tuple[Any, str]
) -> None:
    schema, link = served
    statuses: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(case=schema[path][method].as_strategy())
    def send(case: Any) -> None:
        if known:
            case.path_parameters["listener"] = link
            if "item" in case.path_parameters:
                case.path_parameters |= {"item": "t3", "scale": "quality"}
            body = case.body if isinstance(case.body, Mapping) else {}
            if isinstance(body.get("value"), str):
                case.body = {**body, "value": str(len(body["value"]) % 7)}
        headers = {"Host": "127.0.0.1", "Authorization": f"Bearer {TOKEN}"}
        answer = case.call(headers=headers)
        assert answer.status_code < 500 or (answer.status_code == 503 and path == "/join")
        statuses.add(answer.status_code)

    send()
    # What is sent is not all stopped at the door.
    assert statuses & {200, 201, 204, 303, 409} or not known or "audio" in path, statuses
    assert statuses.isdisjoint({400, 401, 403})

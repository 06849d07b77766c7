"""The pages: in two languages, with nothing from elsewhere, and with every text they ask for."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import desmezcla.studio
from desmezcla.studio.pages import swagger_folder
from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job
from desmezcla.web.pages import load_texts

ROOM = Path(desmezcla.studio.__file__).parent
SCRIPTS = sorted((ROOM / "static").glob("*.js"))
TEMPLATES = sorted((ROOM / "templates").glob("*.html"))
TEXTS = load_texts(ROOM / "texts")
HTML = {"Accept": "text/html"}


@pytest.fixture
def paths(store: JobStore, make_job: Callable[..., Job]) -> list[str]:
    job = make_job(name="<script>alert(1)</script>.wav")
    store.add(job)
    return ["/", f"/jobs/{job.id}", "/live", "/docs", "/jobs/none", "/nothing"]


def test_pages_in_both_languages(client: TestClient, paths: list[str]) -> None:
    for path in paths:
        english = client.get(path, params={"lang": "en"}, headers=HTML)
        spanish = client.get(path, params={"lang": "es"}, headers=HTML)
        assert english.status_code == spanish.status_code == (404 if "no" in path else 200)
        assert '<html lang="es">' in spanish.text
        assert spanish.text != english.text


def test_nothing_is_inline_or_from_elsewhere(client: TestClient, paths: list[str]) -> None:
    for path in paths:
        answer = client.get(path, headers=HTML)
        page = answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"\bon\w+\s*=|\bstyle\s*=|<style", page)
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", page)
        for kind in re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", page):
            assert 'type="application/json"' in kind
        for address in re.findall(r"""(?:src|href)="(/static/[^"]+)""", page):
            assert client.get(address).status_code == 200
        assert "<script>alert" not in page


def test_scripts_import_what_is_there() -> None:
    names = {path.name for path in SCRIPTS}
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""["'`](?:https?:)?//""", text)
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= names


def test_every_text_is_there_and_is_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (*SCRIPTS, *TEMPLATES))
    asked = set(re.findall(r"""\bt\(\s*["'](\w+)["']""", text))
    asked |= {word for word in re.findall(r"""["'](\w+)["']""", text) if word in TEXTS["en"]}
    assert asked <= set(TEXTS["en"])
    shared = set(load_texts(ROOM.parent / "web" / "texts")["en"])
    families = ("state_", "refused_", "stem_", "language_")
    built = {key for key in TEXTS["en"] if key.startswith(families) or key.endswith("_stem")}
    assert set(TEXTS["en"]) - asked - built - shared == set()


@pytest.mark.parametrize("key", sorted(TEXTS["en"]))
def test_both_languages_fill_in_the_same_places(key: str) -> None:
    places = [sorted(set(re.findall(r"\{(\w+)\}", TEXTS[code][key]))) for code in ("en", "es")]
    assert places[0] == places[1]


def test_an_error_is_a_page_for_people_and_json_for_programs(client: TestClient) -> None:
    page = client.get("/jobs/none", headers=HTML)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "no such job" in page.text
    answer = client.get("/jobs/none")
    assert answer.status_code == 404
    assert "no such job" in answer.json()["detail"]
    assert client.get("/api/jobs/none", headers=HTML).json()["detail"]


def test_the_description_of_the_api(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {
        "/api/jobs",
        "/api/jobs/{job_id}",
        "/api/jobs/{job_id}/events",
        "/api/jobs/{job_id}/stems/{stem}",
        "/api/jobs/{job_id}/archive",
        "/api/models",
        "/api/health",
    }
    form = described["paths"]["/api/jobs"]["post"]["requestBody"]["content"]
    assert set(form["multipart/form-data"]["schema"]["properties"]) == {
        "file",
        "model",
        "format",
        "stems",
    }
    page = client.get("/docs").text
    if swagger_folder() is None:
        assert "pip install fastapi-offline" in page
    else:
        assert "/static/swagger/swagger-ui-bundle.js" in page

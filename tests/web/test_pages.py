"""Pages in two languages."""

from pathlib import Path

import pytest
from starlette.requests import Request

from desmezcla.errors import ParameterError
from desmezcla.web.pages import LANGUAGES, Pages, language_of, load_texts


def request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {"type": "http", "method": "GET", "path": "/page", "query_string": query.encode(),
         "headers": raw, "scheme": "http", "server": ("localhost", 80), "root_path": ""}
    )  # fmt: skip


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    (tmp_path / "templates").mkdir()
    for language, text in {"en": "{count} songs", "es": "{count} canciones"}.items():
        (tmp_path / "texts" / f"{language}.yaml").write_text(f'songs: "{text}"\n', "utf-8")
    (tmp_path / "templates" / "page.html").write_text(
        '{% extends "base.html" %}{% block main %}{{ t("songs", count=3) }} {{ name }}'
        "{% endblock %}",
        "utf-8",
    )
    return tmp_path


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("es", "es"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("fr,en;q=0.5,es;q=0.7", "es"),
        ("en;q=0.9,es;q=0.9", "en"),
        ("es;q=0,en;q=0.1", "en"),
        ("fr-FR,de", "en"),
        ("es;q=much,,;;", "en"),
    ],
)
def test_the_browser_says_its_language(accepted: str, language: str) -> None:
    assert language_of(request(accept_language=accepted)) == language


def test_what_was_chosen_comes_before_what_the_browser_says() -> None:
    spanish = {"accept_language": "es"}
    assert language_of(request("lang=en", **spanish)) == "en"
    assert language_of(request(cookie="desmezcla_language=en", **spanish)) == "en"
    assert language_of(request("lang=xx", cookie="desmezcla_language=../en", **spanish)) == "es"


def test_a_page_is_in_the_language_and_escapes_what_it_shows(room: Path) -> None:
    answer = Pages(room).render(request("lang=es"), "page.html", name="<script>")
    html = bytes(answer.body).decode()
    assert '<html lang="es">' in html
    assert "3 canciones &lt;script&gt;" in html
    assert answer.headers["content-language"] == "es"
    assert "desmezcla_language=es" in answer.headers["set-cookie"]
    assert "set-cookie" not in Pages(room).render(request(), "page.html", name="x").headers


def test_links_of_a_page_stay_on_the_server(room: Path) -> None:
    elsewhere = Request({**request().scope, "path": "//evil.example/x"})
    html = bytes(Pages(room).render(elsewhere, "page.html", name="x").body).decode()
    assert 'href="/evil.example/x?lang=es"' in html
    assert '"//' not in html


def test_texts_that_lack_a_language_are_refused(room: Path) -> None:
    assert set(load_texts(room / "texts")) == set(LANGUAGES)
    with (room / "texts" / "en.yaml").open("a", encoding="utf-8") as file:
        file.write("lonely: alone\n")
    with pytest.raises(ParameterError, match="lonely"):
        load_texts(room / "texts")

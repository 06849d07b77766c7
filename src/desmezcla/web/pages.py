"""Pages in English and Spanish, made from templates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from starlette.requests import Request
from starlette.responses import HTMLResponse

from desmezcla.errors import ParameterError
from desmezcla.version import VERSION

LANGUAGES = ("en", "es")
COOKIE = "desmezcla_language"
_SHARED = Path(__file__).parent
_YEAR_S = 31_536_000

Texts = Mapping[str, Mapping[str, str]]


def load_texts(folder: Path) -> Texts:
    """Return the texts of a room by language and key, those that all rooms share included.

    Args:
        folder: With `en.yaml` and `es.yaml`, flat mappings of a key to a text.

    Errors:
        ParameterError: if a key is in one language only.
    """
    texts: dict[str, dict[str, str]] = {}
    for language in LANGUAGES:
        texts[language] = {}
        for where in (_SHARED / "texts", folder):
            read = yaml.safe_load((where / f"{language}.yaml").read_text(encoding="utf-8"))
            texts[language] |= {key: str(text) for key, text in read.items()}
    lonely = sorted(set(texts["en"]) ^ set(texts["es"]))
    if lonely:
        raise ParameterError(f"{folder} has texts in one language only: {', '.join(lonely)}")
    return texts


def language_of(request: Request) -> str:
    """Return the language of an answer: `?lang=`, else the cookie's, else what the browser asks."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    accepted = request.headers.get("accept-language", "")
    ranked: list[tuple[float, int, str]] = []
    for place, item in enumerate(accepted.split(",")):
        tag, _, weight = item.strip().partition(";q=")
        language = tag.lower().partition("-")[0]
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > 0:
            ranked.append((-quality, place, language))
    return min(ranked)[2] if ranked else LANGUAGES[0]


class Pages:
    """Makes the pages of a room.

    Args:
        folder: Of the room, with `templates/` and `texts/`; templates may extend `base.html`.
    """

    def __init__(self, folder: Path) -> None:
        self.texts = load_texts(folder / "texts")
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader([folder / "templates", _SHARED / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def text(self, key: str, language: str, **values: object) -> str:
        """Return a text, with its places in braces filled in."""
        return self.texts[language][key].format(**values)

    def render(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return a page in the language of the request.

        Templates get `t(key, **values)` for texts, `texts` for scripts, `lang`, `languages`,
        `version`, `path` and the values.
        """
        language = language_of(request)

        def t(key: str, **places: object) -> str:
            return self.text(key, language, **places)

        html = self._templates.get_template(template).render(
            t=t,
            texts=self.texts[language],
            lang=language,
            languages=LANGUAGES,
            version=VERSION,
            # One slash: a link to a path that begins with two would name another host.
            path="/" + request.url.path.lstrip("/\\"),
            **values,
        )
        answer = HTMLResponse(html, status)
        answer.headers["Content-Language"] = language
        answer.headers["Vary"] = "Accept-Language, Cookie"
        if request.query_params.get("lang") in LANGUAGES:
            answer.set_cookie(COOKIE, language, max_age=_YEAR_S, samesite="lax", httponly=True)
        return answer

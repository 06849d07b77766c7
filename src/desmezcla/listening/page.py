"""The page of a listener: what a template and its script need for the step where they are."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from desmezcla.listening.design import MOS_RANGE, ListeningTest
from desmezcla.listening.questions import AFTER, BEFORE, CALIBRATION, CONSENT, SONGS, asked
from desmezcla.listening.steps import DONE, Step, current_step, is_mushra
from desmezcla.listening.store import ListenerState
from desmezcla.web.pages import Pages, language_of

# Stems that have a name in the texts; others are called as their files are.
STEMS = ("vocals", "drums", "bass", "other", "guitar", "piano", "accompaniment")


def listener_page(
    pages: Pages, request: Request, design: ListeningTest, listener: ListenerState
) -> HTMLResponse:
    """Return the page where a listener is."""
    step, done, steps = current_step(design, listener)
    given = {
        scale: listener.answers[step.name, scale]
        for scale in step.scales
        if (step.name, scale) in listener.answers
    }
    return pages.render(
        request,
        _template(step),
        test=design,
        step=step.name,
        done=done,
        steps=steps,
        **_values(design, listener, step, partial(_stem_name, pages, language_of(request))),
        page={
            "api": f"/api/p/{listener.id}",
            "item": step.name,
            "revisions": {scale: answer.revision for scale, answer in given.items()},
            "min_played": design.min_played,
            "next_audio": _next_audio(listener, step),
        },
        audio=f"/p/{listener.id}/audio/",
        given={scale: answer.value for scale, answer in given.items()},
    )


def _template(step: Step) -> str:
    if step.item is not None:
        return "mushra.html" if is_mushra(step.item) else "trial.html"
    return "questions.html" if step.name in (BEFORE, AFTER) else f"{step.name}.html"


def _stem_name(pages: Pages, language: str, stem: str) -> str:
    return pages.text(f"stem_{stem}", language) if stem in STEMS else stem


def _values(
    design: ListeningTest, listener: ListenerState, step: Step, stem_name: Callable[[str], str]
) -> dict[str, Any]:
    """Return what only some pages show."""
    if step.item is not None:
        excerpt = design.excerpts[step.item.excerpt]
        return {
            "stem": stem_name(excerpt.stem),
            "files": step.item.files,
            "open_reference": excerpt.open_reference,
            "degrees": [str(value) for value in range(MOS_RANGE[0], MOS_RANGE[1] + 1)],
        }
    questions = asked(design)
    by_step: dict[str, dict[str, Any]] = {
        SONGS: {"songs": list(zip(questions[SONGS], design.songs, strict=True))},
        CALIBRATION: {"examples": [(one, stem_name(one.stem)) for one in design.calibration]},
        DONE: {"number": (listener.number or 0) + 1},
    }
    return {"questions": questions.get(step.name, ()), **by_step.get(step.name, {})}


def _next_audio(listener: ListenerState, step: Step) -> list[str]:
    """Return what the next page will play, to be fetched before it is needed."""
    names = [item.name for item in listener.items]
    following = names.index(step.name) + 1 if step.name in names else 0
    if step.name in (CONSENT, DONE, AFTER) or following >= len(names):
        return []
    return list(listener.items[following].files)

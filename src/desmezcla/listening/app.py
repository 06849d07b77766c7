"""The server of a test: pages for listeners and for who runs it, and the API behind them."""

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from desmezcla.listening.design import AudioName, ListeningTest, audio_path
from desmezcla.listening.order import listener_order
from desmezcla.listening.page import listener_page
from desmezcla.listening.questions import CONSENT
from desmezcla.listening.rows import answer_rows, csv_of
from desmezcla.listening.steps import DONE, all_steps, current_step, trials_done
from desmezcla.listening.store import ListenerState, NewAnswer, Store
from desmezcla.web.app import RequestError, make_app
from desmezcla.web.pages import Pages, language_of

_HERE = Path(__file__).parent
STATIC = _HERE / "static"

# How many links one request makes, and how many listeners an open test takes.
_LINKS_AT_ONCE = 200
OPEN_LIMIT = 1000

# Audio never changes under its name.
_KEEP_S = 7 * 86_400

ListenerId = Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]{22}$", description="Of the link.")]
ItemName = Annotated[str, InPath(pattern=r"^[a-z0-9]{1,24}$", description="The page.")]
ScaleName = Annotated[str, InPath(pattern=r"^[a-z0-9_]{1,24}$", description="What was asked.")]


class AnswerBody(BaseModel):
    """An answer, as a page sends it."""

    model_config = ConfigDict(extra="forbid")

    value: str = Field(pattern=r"^[a-z0-9]{1,24}$")
    revision: int = Field(ge=0, le=1_000_000, description="Of the answer it replaces; 0 for none.")
    change: str = Field(pattern=r"^[0-9a-f]{16,36}$", description="Drawn anew for each answer.")
    listened_s: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)


class AnswerState(BaseModel):
    """The answer that counts."""

    value: str
    revision: int
    accepted: bool


class ListenerPlace(BaseModel):
    """Where a listener is."""

    step: str
    done: int
    steps: int


class LinksBody(BaseModel):
    """How many links to make."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1, le=_LINKS_AT_ONCE)


class ListenerProgress(BaseModel):
    """What who runs the test sees of a listener."""

    path: str
    number: int | None = Field(description="From 1; null before they begin.")
    trials_done: int
    trials: int
    finished: bool
    last_answer_s: float | None = Field(description="Seconds since 1970.")


def listening_app(
    folder: Path, design: ListeningTest, store: Store, *, host: str, token: str, open: bool = False
) -> FastAPI:
    """Return the application of a test.

    Args:
        folder: The test.
        design: What `read_design` returns.
        store: Where answers go; who made it closes it.
        host: The address it will listen at.
        token: What who runs the test must show; listeners need their link only.
        open: Whether anybody may begin, and gets a link.
    """
    app = make_app(
        f"Listening test {design.name}",
        host=host,
        token=token,
        static={"/static/listening": STATIC},
        open_paths=("/p/", "/api/p/", *(("/join",) if open else ())),
        description="Answers of listeners, and progress for who runs the test.",
    )
    pages = Pages(_HERE)
    _add_listener_routes(app, folder, design, store, pages)
    _add_admin_routes(app, design, store, pages, open=open)
    if open:
        _add_join_routes(app, design, store, pages)
    return app


def _add_listener_routes(
    app: FastAPI, folder: Path, design: ListeningTest, store: Store, pages: Pages
) -> None:
    files = frozenset(design.files())

    @app.get("/p/{listener}", response_class=HTMLResponse)
    def page(request: Request, listener: ListenerId) -> Response:
        """Show the page where the listener is."""
        found = store.listener(listener)
        if found is None:
            return pages.render(request, "unknown.html", status=404, test=design)
        return listener_page(pages, request, design, found)

    @app.get("/p/{listener}/audio/{name}", response_class=Response)
    def audio(listener: ListenerId, name: AudioName) -> Response:
        """Send a file of audio."""
        _known(store, listener)
        if name not in files:
            raise RequestError(404, f"there is no audio {name!r} in this test; reload the page")
        # Without a date: the order in which files were written would tell what they are.
        return Response(
            audio_path(folder, name).read_bytes(),
            media_type="audio/flac",
            headers={"Cache-Control": f"private, max-age={_KEEP_S}, immutable"},
        )

    @app.get("/api/p/{listener}")
    def place(listener: ListenerId) -> ListenerPlace:
        """Tell where a listener is."""
        step, done, steps = current_step(design, _known(store, listener))
        return ListenerPlace(step=step.name, done=done, steps=steps)

    @app.put(
        "/api/p/{listener}/answers/{item}/{scale}",
        responses={409: {"model": AnswerState, "description": "Answered elsewhere meanwhile."}},
    )
    def answer(
        request: Request, listener: ListenerId, item: ItemName, scale: ScaleName, body: AnswerBody
    ) -> AnswerState:
        """Store an answer; it is on disk when this is answered.

        The same answer, by its `change`, can be sent any number of times.
        """
        _check_answer(design, _known(store, listener), item, scale, body.value)
        given = store.answer(
            listener,
            NewAnswer(item, scale, body.value, body.revision, body.change, body.listened_s),
        )
        if item == CONSENT:
            store.begin(listener, language_of(request), lambda n: listener_order(design, n))
        state = AnswerState(value=given.value, revision=given.revision, accepted=given.accepted)
        return state if given.accepted else _conflict(state)


def _conflict(state: AnswerState) -> AnswerState:
    # FastAPI passes a response on as it is; its type is what the description shows.
    return JSONResponse(state.model_dump(), 409)  # type: ignore[return-value]


def _add_admin_routes(
    app: FastAPI, design: ListeningTest, store: Store, pages: Pages, *, open: bool
) -> None:
    @app.get("/", include_in_schema=False)
    def root() -> Response:
        """Lead to the page of who runs the test."""
        return RedirectResponse("/admin", 303)

    @app.get("/admin", response_class=HTMLResponse)
    def admin(request: Request) -> Response:
        """Show links and progress."""
        progress = [one.model_dump() for one in _progress(design, store)]
        return pages.render(request, "admin.html", test=design, open=open, progress=progress)

    @app.get("/api/admin/listeners")
    def listeners() -> list[ListenerProgress]:
        """Tell how far all listeners are."""
        return _progress(design, store)

    @app.post("/api/admin/listeners", status_code=201)
    def add(body: LinksBody) -> list[str]:
        """Make links, and return their paths."""
        return [f"/p/{id}" for id in store.add_listeners(body.count) or ()]

    @app.delete("/api/admin/listeners/{listener}", status_code=204)
    def remove(listener: ListenerId) -> None:
        """Remove a listener with all of their answers."""
        if not store.remove(listener):
            raise RequestError(404, "there is no such listener; reload the page")

    @app.get("/api/admin/answers.csv", response_class=Response)
    def answers() -> Response:
        """Send all answers as CSV, without what would tell who gave them."""
        return Response(
            csv_of(answer_rows(design, store.listeners())),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="answers.csv"'},
        )


def _add_join_routes(app: FastAPI, design: ListeningTest, store: Store, pages: Pages) -> None:
    @app.get("/join", response_class=HTMLResponse)
    def invitation(request: Request) -> Response:
        """Invite anybody to take part."""
        answer = pages.render(request, "join.html", test=design)
        # Without a referrer, browsers hide the origin of a form, and the guard refuses it.
        answer.headers["Referrer-Policy"] = "same-origin"
        return answer

    @app.post("/join", status_code=303, response_class=RedirectResponse)
    def join() -> Response:
        """Give somebody a link."""
        made = store.add_listeners(1, limit=OPEN_LIMIT)
        if made is None:
            raise RequestError(503, f"this test has its {OPEN_LIMIT} listeners; ask who runs it")
        return RedirectResponse(f"/p/{made[0]}", 303)


def _known(store: Store, listener: str) -> ListenerState:
    found = store.listener(listener)
    if found is None:
        raise RequestError(404, "this link is not known; check that it is complete")
    return found


def _check_answer(
    design: ListeningTest, listener: ListenerState, item: str, scale: str, value: str
) -> None:
    steps = {step.name: step for step in all_steps(design, listener)}
    if item not in steps:
        if listener.number is None and item != DONE:
            raise RequestError(409, f"item={item!r}: answer {CONSENT!r} first")
        raise RequestError(404, f"item={item!r} is not a page of this listener; reload the page")
    if scale not in steps[item].scales:
        known = ", ".join(steps[item].scales)
        raise RequestError(404, f"scale={scale!r} is not asked on {item!r}; it asks {known}")
    choices = steps[item].scales[scale]
    if value not in choices:
        raise RequestError(
            422, f"value={value!r} is not an answer to {scale!r}; it takes {_shown(choices)}"
        )


def _shown(choices: tuple[str, ...]) -> str:
    return ", ".join(choices) if len(choices) < 10 else f"{choices[0]} to {choices[-1]}"


def _progress(design: ListeningTest, store: Store) -> list[ListenerProgress]:
    return [_progress_of(design, listener) for listener in store.listeners()]


def _progress_of(design: ListeningTest, listener: ListenerState) -> ListenerProgress:
    done, trials = trials_done(listener)
    return ListenerProgress(
        path=f"/p/{listener.id}",
        number=None if listener.number is None else listener.number + 1,
        trials_done=done,
        trials=trials,
        finished=current_step(design, listener)[0].name == DONE,
        last_answer_s=listener.saved_s,
    )

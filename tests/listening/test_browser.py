"""A whole listening test in a real browser: several listeners, the owner, and the report."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import soundfile
from numpy.typing import NDArray

from desmezcla.listening.analysis.analysis import analyse
from desmezcla.listening.analysis.report import write_listening_report
from desmezcla.listening.create import CreateOptions, create_test
from desmezcla.listening.design import ANSWERS_FILE, read_design
from desmezcla.listening.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from .browsing import AXE, MEANS, PHONE, Listener, look, mean_noted  # noqa: E402

RATE = 44100
TOKEN = "b" * 20
Stems = dict[str, NDArray[np.float32]]


@dataclass
class Server:
    """A running server.

    Attributes:
        address: Where it is.
        links: Of the listeners.
        folder: The test.
    """

    address: str
    links: list[str]
    folder: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, true_stems: Stems) -> Path:
    """Make a test of a song, which two systems have separated more or less well."""
    root = tmp_path_factory.mktemp("browser")
    for system, leak in (("true", 0.0), ("clean", 0.05), ("leaky", 0.6)):
        (root / system / "song").mkdir(parents=True)
        for name in ("vocals", "drums"):
            rest = sum(audio for other, audio in true_stems.items() if other != name)
            audio = 0.5 * (true_stems[name] + leak * rest)
            soundfile.write(root / system / "song" / f"{name}.wav", audio.T, RATE)
    options = CreateOptions(
        {"clean": root / "clean", "leaky": root / "leaky"},
        reference=root / "true",
        excerpt_s=1.0,
        repeats=1,
        mushra=True,
        organiser="The laboratory, laboratory@example.org",
    )
    create_test(root / "stems", options)
    return root / "stems"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    code = "from desmezcla.cli.listen import app; app()"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", "--token", TOKEN]
    with subprocess.Popen(
        [*command, "--links", "6", "--open"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(8)]
        links = [line.split(": ")[1].strip() for line in lines if line.startswith("for a listener")]
        assert len(links) == 6, lines
        yield Server(links[0].partition("/p/")[0], links, folder)
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with playwright.sync_playwright() as starting:
        opened = starting.chromium.launch(
            executable_path=chromium, args=["--autoplay-policy=no-user-gesture-required"]
        )
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    # The checker of accessibility is a script that the pages' own rules would not let in.
    # Colours that are on their way from one scheme to the other are no colours of a page.
    opened = browser.new_context(
        viewport=PHONE, locale="en-GB", bypass_csp=True, reduced_motion="reduce"
    )
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


def begin(context: Any, server: Server, number: int, **options: Any) -> Listener:
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(server.links[number])
    listener = Listener(page, read_design(server.folder), number, **options)
    listener.faults = problems
    return listener


def stored(server: Server, number: int) -> dict[tuple[str, str], str]:
    with Store(server.folder / ANSWERS_FILE) as store:
        listener = store.listener(server.links[number].rpartition("/")[2])
    assert listener is not None
    return {
        key: given.value for key, given in listener.answers.items() if re.match(r"[tm]\d", key[0])
    }


@pytest.fixture(scope="module")
def notes() -> dict[int, Listener]:
    """Give what the listeners of the tests above noted, for those below."""
    return {}


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python, the checker, is not installed")
def test_the_checker_of_accessibility_finds_what_is_wrong(context: Any) -> None:
    page = context.new_page()
    page.set_content('<html lang="en"><title>x</title><main><h1>x</h1><input></main></html>')
    assert any("label" in one for one in look(page, "wrong"))


def test_a_listener_takes_the_whole_test_with_keys_and_nothing_is_in_the_way(
    context: Any, server: Server, notes: dict[int, Listener]
) -> None:
    listener = begin(context, server, 0, looking=True)
    listener.take()
    assert listener.faults == []
    assert stored(server, 0) == listener.given
    assert "Thank you" in listener.page.locator("h1").text_content()
    notes[0] = listener


def test_a_listener_who_reloads_goes_on_where_they_were(
    context: Any, server: Server, notes: dict[int, Listener]
) -> None:
    listener = begin(context, server, 1)
    listener.take(until="t3")
    listener.play()
    listener.rate("t3", ("quality",))
    listener.state("saved")
    listener.page.reload()
    assert listener.step == "t3"
    value = listener.given["t3", "quality"]
    chosen = listener.page.locator(f'input[name="quality"][value="{value}"]')
    assert chosen.is_checked()
    listener.take()
    assert listener.faults == []
    assert stored(server, 1) == listener.given
    notes[1] = listener


def test_a_listener_who_loses_the_connection_and_closes_the_page_loses_nothing(
    context: Any, server: Server, notes: dict[int, Listener]
) -> None:
    listener = begin(context, server, 2)
    listener.take(until="t2")
    listener.play()
    context.set_offline(True)
    listener.rate("t2")
    listener.state("unsaved")
    assert "Not saved yet" in listener.page.locator("#saving").text_content()
    assert not {key for key in stored(server, 2) if key[0] == "t2"}
    # The connection comes back while the page is open.
    context.set_offline(False)
    listener.state("saved")
    assert stored(server, 2) == listener.given
    listener.next()
    # And now the page is closed before it does.
    listener.play()
    context.set_offline(True)
    listener.rate("t3")
    listener.state("unsaved")
    listener.page.close()
    context.set_offline(False)
    listener.page = context.new_page()
    listener.page.goto(server.links[2])
    listener.state("saved")
    listener.take()
    assert listener.faults == []
    assert stored(server, 2) == listener.given
    notes[2] = listener


def test_two_tabs_do_not_overwrite_each_other(context: Any, server: Server) -> None:
    one = begin(context, server, 3)
    one.take(until="t1")
    two = begin(context, server, 3)
    assert two.step == "t1"
    one.play()
    one.rate("t1")
    one.state("saved")
    two.play()
    other = "1" if one.given["t1", "quality"] != "1" else "2"
    # A click, since what it chose may be taken back before it could be looked at.
    two.page.locator(f'input[name="quality"][value="{other}"]').click()
    two.state("elsewhere")
    value = one.given["t1", "quality"]
    assert two.page.locator(f'input[name="quality"][value="{value}"]').is_checked()
    assert stored(server, 3) == one.given
    # What was shown can be changed now, and the other tab goes on.
    two.page.locator(f'input[name="quality"][value="{other}"]').check()
    two.state("saved")
    assert stored(server, 3)["t1", "quality"] == other
    one.next()
    assert one.step == "t2"


def test_what_is_given_before_the_other_tab_is_seen_overwrites_nothing(
    context: Any, server: Server
) -> None:
    one = begin(context, server, 4)
    one.take(until="t1")
    two = begin(context, server, 4)
    one.play()
    one.rate("t1", ("quality",))
    one.state("saved")
    two.play()
    held: list[Any] = []
    two.page.route("**/answers/**", lambda route: route.continue_() if held else held.append(route))
    others = [value for value in "12345" if value != one.given["t1", "quality"]]
    with two.page.expect_request("**/answers/**"):
        two.page.locator(f'input[name="quality"][value="{others[0]}"]').click()
    # Both are given while the first one is on its way.
    two.page.locator(f'input[name="quality"][value="{others[1]}"]').click()
    with two.page.expect_response("**/answers/t1/contamination"):
        two.page.locator('input[name="contamination"][value="3"]').click()
        held[0].continue_()
    two.state("elsewhere")
    assert "another tab" in two.page.locator("#saving").text_content()
    value = one.given["t1", "quality"]
    assert two.page.locator(f'input[name="quality"][value="{value}"]').is_checked()
    assert stored(server, 4) == one.given | {("t1", "contamination"): "3"}
    assert two.faults == []


def test_pages_of_the_owner_and_of_strangers(context: Any, server: Server) -> None:
    page = context.new_page()
    page.goto(f"{server.address}/admin?token={TOKEN}")
    assert "token" not in page.url
    playwright.expect(page.locator("#listeners tr")).to_have_count(6)
    assert look(page, "admin") == []
    page.locator("#count").fill("2")
    page.locator("#links button").click()
    playwright.expect(page.locator("#listeners tr")).to_have_count(8)
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#listeners tr").last.locator("button").click()
    playwright.expect(page.locator("#listeners tr")).to_have_count(7)
    page.goto(f"{server.address}/join?lang=es")
    assert look(page, "join") == []
    page.get_by_role("button").click()
    assert "damos la bienvenida" in page.locator("h1").text_content()
    assert look(page, "consent-es") == []
    page.goto(f"{server.address}/p/{'x' * 22}")
    assert look(page, "unknown") == []


def test_the_report_equals_what_the_listeners_noted(
    context: Any, server: Server, notes: dict[int, Listener], tmp_path: Path
) -> None:
    if len(notes) < 3:
        pytest.fail("the listeners above have not finished")
    done = write_listening_report(server.folder, tmp_path, screened=False)
    with Store(server.folder / ANSWERS_FILE) as store:
        numbers = {one.id: one.number for one in store.listeners()}
    # Only those who have finished; two others have begun.
    wanted = [numbers[server.links[n].rpartition("/")[2]] for n in notes]
    kept = [number + 1 for number in wanted if number is not None]
    overall = analyse(done.analysis.everything.of(kept), screened=False).overall
    found = overall.set_index(["scale", "condition"])
    for scale in ("quality", "contamination", "mushra"):
        for condition in MEANS:
            means = [mean_noted(listener, scale, condition) for listener in notes.values()]
            row = found.loc[scale, condition]
            assert row["mos"] == pytest.approx(np.mean(means))
            half = scipy.stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)
            assert row["high"] - row["low"] == pytest.approx(2 * half)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert look(page, "report") == []

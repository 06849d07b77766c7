"""A whole listening test in a real browser: several listeners, the owner, and the report."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import soundfile

from desmezcla.datasets.demo import render_song
from desmezcla.listening.analysis.analysis import analyse
from desmezcla.listening.analysis.report import write_listening_report
from desmezcla.listening.create import CreateOptions, create_test
from desmezcla.listening.design import ANSWERS_FILE, ListeningTest, read_design
from desmezcla.listening.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

RATE = 44100
TOKEN = "b" * 20
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# What a listener is said to hear of each condition.
MEANS = {"clean": 4.2, "leaky": 2.6, "reference": 4.9}


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as starting:
        own = starting.chromium.executable_path
    return own if Path(own).exists() else found


CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a test of a rendered song, which two systems have separated more or less well."""
    root = tmp_path_factory.mktemp("browser")
    stems = render_song(seed=0, duration_s=4.0)
    for system, leak in (("true", 0.0), ("clean", 0.05), ("leaky", 0.6)):
        (root / system / "song").mkdir(parents=True)
        for name in ("vocals", "drums"):
            rest = sum(audio for other, audio in stems.items() if other != name)
            audio = 0.5 * (stems[name] + leak * rest)
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
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as starting:
        opened = starting.chromium.launch(
            executable_path=CHROMIUM, args=["--autoplay-policy=no-user-gesture-required"]
        )
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    # The checker of accessibility is a script that the pages' own rules would not let in.
    opened = browser.new_context(viewport=PHONE, locale="en-GB", bypass_csp=True)
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


def axe_script() -> str | None:
    spec = find_spec("axe_playwright_python")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "axe.min.js"
    return path.read_text(encoding="utf-8") if path.exists() else None


AXE = axe_script()


def look(page: Any, name: str) -> list[str]:
    """Take pictures at both widths, and return what the checker finds serious."""
    pictures = os.environ.get("DESMEZCLA_SCREENSHOTS")
    found = []
    for width, size in (("phone", PHONE), ("desktop", DESKTOP)):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        if pictures:
            page.screenshot(path=f"{pictures}/{name}-{width}.png", full_page=True)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if AXE is not None:
                page.evaluate(AXE)
                result = page.evaluate("axe.run()")
                found += [
                    f"{name}, {width}, {scheme}: {one['id']}: {one['nodes'][0]['html']}"
                    for one in result["violations"]
                    if one["impact"] in ("serious", "critical")
                ]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    return found


@dataclass
class Listener:
    """Takes the test as a person does, with buttons and keys, and notes what was given."""

    page: Any
    design: ListeningTest
    seed: int
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    heard: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    looking: bool = False

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.names = {
            stimulus.file: (excerpt.song, excerpt.stem, stimulus.condition)
            for excerpt in self.design.excerpts
            for stimulus in excerpt.stimuli
        }

    @property
    def step(self) -> str:
        if not self.page.locator("#page").count():
            return "done"
        return str(json.loads(self.page.locator("#page").text_content())["item"])

    def take(self, until: str = "done") -> None:
        """Go on until a page is reached."""
        for _ in range(60):
            step = self.step
            if self.looking and step not in ("t2", "t3", "t4", "t5", "t6", "t7", "m2"):
                self.faults += look(self.page, step)
            if step in (until, "done"):
                return
            self.answer(step)
            self.next()
        raise AssertionError("the test does not end")

    def answer(self, step: str) -> None:
        if re.fullmatch(r"t\d+", step):
            self.play()
            self.rate(step)
        elif re.fullmatch(r"m\d+", step):
            self.compare(step)
        elif step == "calibration":
            for place in range(self.page.locator(".play").count()):
                self.play(place)
        else:
            for group in self.page.locator("fieldset[data-scale]").all():
                radios = group.locator("input")
                radios.nth(int(self.rng.integers(radios.count()))).check()

    def play(self, place: int = 0) -> None:
        button = self.page.locator(".play").nth(place)
        playwright.expect(button).to_be_enabled()
        button.focus()
        self.page.keyboard.press("Space")
        playwright.expect(button).to_have_attribute("aria-pressed", "true")
        playwright.expect(button).to_have_attribute("aria-pressed", "false")  # it has ended

    def rate(self, step: str, scales: tuple[str, ...] = ("quality", "contamination")) -> None:
        file = self.page.locator("[data-player]").get_attribute("data-player").rpartition("/")[2]
        self.heard[step] = self.names[file]
        for scale in scales:
            mean = MEANS[self.names[file][2]]
            value = str(int(np.clip(round(mean + self.rng.normal(0, 0.4)), 1, 5)))
            radio = self.page.locator(f'fieldset[data-scale="{scale}"] input[value="{value}"]')
            playwright.expect(radio).to_be_enabled()
            radio.focus()
            self.page.keyboard.press("Space")
            self.given[step, scale] = value

    def compare(self, step: str) -> None:
        self.page.locator("#play").click()
        for version in self.page.locator(".version").all():
            version.locator(".hear").click()
            slider = version.locator("input")
            playwright.expect(slider).to_be_enabled()
            file = version.get_attribute("data-scale")
            value = str(
                int(np.clip(20 * MEANS[self.names[file][2]] + self.rng.integers(5), 0, 100))
            )
            slider.fill(value)
            self.given[step, file] = value

    def next(self) -> None:
        with self.page.expect_navigation():
            self.page.locator("#next").click()

    def state(self, wanted: str) -> None:
        playwright.expect(self.page.locator("#saving")).to_have_attribute("data-state", wanted)


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
    two.page.locator(f'input[name="quality"][value="{other}"]').check()
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


def mean_noted(listener: Listener, scale: str, condition: str) -> float:
    """Return the mean of what a listener noted of a condition, without the repeat."""
    values: list[int] = []
    seen = set()
    for (item, own), value in listener.given.items():
        if scale == "mushra" and own in listener.names:
            values += [int(value)] if listener.names[own][2] == condition else []
        elif own == scale and listener.heard[item][2] == condition:
            values += [int(value)] if listener.heard[item] not in seen else []
            seen.add(listener.heard[item])
    assert len(values) == 2  # two stems
    return float(np.mean(values))


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

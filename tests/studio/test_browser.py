"""The pages in a real browser, from a song to its stems; every page, seen and by axe."""

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
Stems = dict[str, NDArray[np.float32]]

STEMS = ["vocals", "drums", "bass", "other"]
PATIENCE_MS = 60_000
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
            ],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, true_stems: Stems) -> Path:
    path = tmp_path_factory.mktemp("song") / "My song.wav"
    soundfile.write(path, np.sum(list(true_stems.values()), axis=0).T, 44100)
    return path


@pytest.fixture
def address(start: Callable[..., Any]) -> str:
    return str(start().address)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(base_url=address, locale="en-GB", viewport=DESKTOP)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []

    def note(said: Any) -> None:
        # That a request was refused is what some tests want.
        if said.type == "error" and "Failed to load resource" not in said.text:
            wrong.append(said.text)

    opened.on("console", note)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert wrong == []


def separated(page: Any, song: Path, file_format: str = "wav") -> None:
    """Send a song and open its desk."""
    page.goto("/")
    page.set_input_files("#files", song)
    page.select_option("#model", "baseline")
    page.select_option("#format", file_format)
    page.click("button[type=submit]")
    page.click("#jobs a:has-text('Open')")
    page.wait_for_url("**/jobs/*")
    until(page, "window.desk?.player")


def until(page: Any, expression: str) -> None:
    """Wait for something on a page, whose policy forbids Playwright's own way to do so."""
    end_s = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end_s, f"it takes too long: {expression}"
        page.wait_for_timeout(50)


def expected_stems(song: Path, out: Path, file_format: str = "wav") -> dict[str, Path]:
    """Return what `desmezcla separate` writes, with as many threads as the server has."""
    subprocess.run(
        [
            *(sys.executable, "-m", "desmezcla", "separate", str(song), "-m", "baseline"),
            *("-d", "cpu", "-o", str(out), "--format", file_format, "-q"),
        ],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return {path.stem: path for path in out.rglob(f"*.{file_format}")}


def gains(page: Any) -> dict[str, float]:
    """Return the gain of each stem in the audio graph, once it has settled."""
    page.wait_for_timeout(300)
    found = page.evaluate(
        "Object.entries(desk.player.nodes).map(([stem, { gain }]) => [stem, gain.gain.value])"
    )
    return {stem: round(value, 2) for stem, value in found}


def test_from_a_song_to_its_stems(page: Any, song: Path, tmp_path: Path) -> None:
    separated(page, song)
    expected = expected_stems(song, tmp_path)
    assert set(expected) == set(STEMS)
    for stem, path in expected.items():
        with page.expect_download() as waiting:
            page.click(f"[data-stem={stem}] a")
        assert waiting.value.suggested_filename == f"My song - {stem}.wav"
        assert Path(waiting.value.path()).read_bytes() == path.read_bytes()
    with page.expect_download() as waiting:
        page.click("#archive")
    content = Path(waiting.value.path()).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for stem, path in expected.items():
            assert archive.read(f"My song/{stem}.wav") == path.read_bytes()


def test_solo_mute_and_volume_are_heard(page: Any, song: Path) -> None:
    separated(page, song)
    page.click("#play")
    until(page, "desk.player.position > 20000")
    assert gains(page) == dict.fromkeys(STEMS, 1.0)
    page.click("[data-stem=vocals] [data-action=solo]")
    assert gains(page) == {"vocals": 1.0, "drums": 0.0, "bass": 0.0, "other": 0.0}
    levels = page.evaluate("desk.player.levels()")
    assert levels["vocals"] > 1e-3
    assert max(levels[stem] for stem in STEMS[1:]) < 1e-3
    page.click("[data-stem=vocals] [data-action=mute]")
    assert set(gains(page).values()) == {0.0}
    page.click("[data-stem=vocals] [data-action=solo]")
    assert gains(page) == {"vocals": 0.0, "drums": 1.0, "bass": 1.0, "other": 1.0}
    page.fill("[data-stem=bass] input[type=range]", "-6")
    assert gains(page)["bass"] == 0.5
    assert page.get_attribute("[data-stem=vocals] [data-action=mute]", "aria-pressed") == "true"


def test_the_desk_plays_what_is_in_the_files(page: Any, song: Path, tmp_path: Path) -> None:
    separated(page, song, "flac")
    for stem, path in expected_stems(song, tmp_path, "flac").items():
        played = page.evaluate(f"desk.player.samples.of('{stem}', 0).then((all) => [...all])")
        expected = soundfile.read(path, dtype="int16")[0][: 4 * 44100].ravel()
        np.testing.assert_array_equal(played, expected)


def test_seeking_loop_and_the_end(page: Any, song: Path) -> None:
    separated(page, song)
    page.fill("#loop-start", "1")
    page.fill("#loop-end", "1.5")
    page.click("#loop")
    page.click("#play")
    page.evaluate("desk.seek(1 / 6)")
    page.wait_for_timeout(2500)
    position = page.evaluate("desk.player.position") / 44100
    assert 1.0 <= position <= 1.5
    page.click("#loop")
    page.evaluate("desk.seek(0.95)")
    until(page, "!desk.player.playing")
    assert page.evaluate("desk.player.position") == 0
    assert page.inner_text("#play") == "Play"


def test_a_drag_over_a_waveform_is_a_loop_and_a_click_goes_there(page: Any, song: Path) -> None:
    separated(page, song)
    box = page.locator("[data-stem=drums] .waveform").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + box["width"] / 2, middle)
    assert page.evaluate("desk.player.position") == pytest.approx(3 * 44100, abs=4410)
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=4)
    page.mouse.up()
    loop = page.evaluate("desk.player.loop")
    assert loop["start"] == pytest.approx(1.5 * 44100, abs=6000)
    assert loop["end"] == pytest.approx(3 * 44100, abs=6000)


def test_the_keyboard_is_enough(page: Any, song: Path) -> None:
    separated(page, song)
    page.keyboard.press("Space")
    until(page, "desk.player.playing")
    page.keyboard.press("2")
    assert gains(page) == {"vocals": 0.0, "drums": 1.0, "bass": 0.0, "other": 0.0}
    page.keyboard.press("0")
    page.keyboard.press("Shift+Digit3")
    assert gains(page) == {"vocals": 1.0, "drums": 1.0, "bass": 0.0, "other": 1.0}
    page.keyboard.press("l")
    assert page.evaluate("desk.player.loop !== null")
    page.keyboard.press("Space")
    until(page, "!desk.player.playing")
    before = page.evaluate("desk.player.position")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("desk.player.position") == max(0, before - 5 * 44100)
    page.click("summary")
    page.uncheck("#keys-on")
    page.click("h1")
    page.keyboard.press("1")
    assert not page.evaluate("desk.mix.soloed.size")


def test_what_is_refused_is_said_in_the_language_of_the_page(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "no song.wav"
    path.write_bytes(b"no song at all")
    page.goto("/?lang=es")
    page.click("button[type=submit]")
    assert page.inner_text("#message") == "Elige primero una canción."
    page.set_input_files("#files", path)
    page.click("button[type=submit]")
    until(page, "document.querySelector('#message').textContent.includes('rechazada')")
    assert "no es posible" in page.inner_text("#message")


@pytest.mark.parametrize("source", ["file", "microphone"])
def test_live(page: Any, song: Path, source: str) -> None:
    page.goto("/live")
    page.select_option("#source", source)
    if source == "file":
        page.set_input_files("#song", song)
    page.click("#start")
    until(page, "/\\d+ ms/.test(document.querySelector('#latency').textContent)")
    assert page.inner_text("#latency-model") == "23 ms"
    page.fill("#gain-vocals", "-40")
    assert page.inner_text("output[for=gain-vocals]") == "silent"
    page.click("#start")
    until(page, "!window.live")
    assert page.inner_text("#message") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_page_fits_and_is_accessible(
    page: Any, song: Path, tmp_path: Path, size: dict[str, int], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe looks for it")
    shots = Path(os.environ.get("DESMEZCLA_SCREENSHOTS", tmp_path))
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    separated(page, song)
    page.click("[data-stem=drums] [data-action=spectrogram]")
    page.click("summary")
    desk = page.url
    paths = {"desk": desk, "home": "/", "live": "/live", "docs": "/docs", "problem": "/nothing"}
    for name, path in paths.items():
        if name != "desk":
            page.goto(path)
        if name == "docs":
            page.wait_for_selector("#swagger .opblock")
        page.wait_for_timeout(500)
        page.evaluate("scrollTo(0, 0)")  # what stays at the top of the window is at its own place
        page.screenshot(path=shots / f"{name}-{size['width']}-{scheme}.png", full_page=True)
        width = page.evaluate("document.documentElement.scrollWidth")
        if name != "docs":  # what Swagger UI does inside is its own
            assert width <= size["width"], f"{name} is {width} wide"
        found = axe.Axe().run(page, context={"exclude": [["#swagger"]]})
        serious = [
            f"{name}: {one['id']}: {[node['html'] for node in one['nodes']]}"
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []

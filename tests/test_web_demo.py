"""The page in `web-demo/` in a real browser: its stems are those of the command line."""

import functools
import http.server
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desmezcla.datasets.demo import render_song
from desmezcla.exporting.model import export_model
from desmezcla.inference.offline import Separator
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.store import find_release

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
DEMO = Path(__file__).parents[1] / "web-demo"
RATE = 44100
PATIENCE_MS = 240_000
LEAST_DB = 40


def _prepare() -> Any:
    spec = importlib.util.spec_from_file_location("prepare", DEMO / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed (chromium on the path, or $CHROMIUM)", True)
if not all((DEMO / "vendor" / name).is_file() for name in _prepare().FILES):
    pytest.skip("ONNX Runtime for browsers is not there; python web-demo/prepare.py", True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page with the model of `default`."""
    folder = tmp_path_factory.mktemp("served") / "web-demo"
    shutil.copytree(DEMO, folder)
    release = find_release("default")
    export_model(load_model(release), folder / "vendor" / "model.onnx", release=release)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(locale="en-GB", accept_downloads=True)
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        wrong: list[str] = []
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("request", lambda request: _note_upload(request, address, wrong))
        opened.goto(address)
        yield opened
        browser.close()
    assert wrong == []


def _note_upload(request: Any, address: str, wrong: list[str]) -> None:
    """Nothing may be sent, and nothing fetched from elsewhere."""
    if request.method != "GET" or not request.url.startswith((address, "blob:", "data:")):
        wrong.append(f"{request.method} {request.url}")


@pytest.mark.parametrize("channels", [1, 2])
def test_a_song_is_separated_as_on_the_command_line(
    page: Any, tmp_path: Path, channels: int
) -> None:
    song = np.sum(list(render_song(seed=3, duration_s=9.0).values()), axis=0)[:channels]
    path = tmp_path / "My song.wav"
    soundfile.write(path, song.T, RATE, subtype="FLOAT")
    page.get_by_text("Ready. It computes with").wait_for()
    page.locator("#file").set_input_files(path)
    page.get_by_text("Done.").wait_for()
    expected = Separator("default", engine="torch").separate(song.astype(np.float32), RATE)
    assert page.locator("audio").count() == len(expected)
    for stem, audio in expected.items():
        with page.expect_download() as download:
            page.locator(f"a[data-stem={stem}]").click()
        assert download.value.suggested_filename == f"My song.{stem}.wav"
        download.value.save_as(tmp_path / f"{stem}.wav")
        got, rate = soundfile.read(tmp_path / f"{stem}.wav", dtype="float32", always_2d=True)
        assert (rate, got.T.shape) == (RATE, audio.shape)
        level_db = 10 * np.log10(np.square(audio).sum() / np.square(audio - got.T).sum())
        assert level_db > LEAST_DB, f"{stem}: {level_db:.1f} dB"


def test_what_is_no_sound_is_said_in_the_language_chosen(page: Any, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no sound")
    page.get_by_text("Ready. It computes with").wait_for()
    page.locator("#language").select_option("es")
    page.locator("#file").set_input_files(tmp_path / "text.txt")
    page.get_by_text("El navegador no puede leer este archivo").wait_for()
    assert page.locator("html").get_attribute("lang") == "es"
    assert page.locator("#file").is_enabled()


def test_a_separation_is_cancelled_with_the_keyboard(page: Any, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros((120 * RATE, 2)), RATE)
    page.get_by_text("Ready. It computes with").wait_for()
    page.locator("#file").set_input_files(tmp_path / "long.wav")
    page.get_by_text("Separating:").wait_for()
    page.locator("#cancel").press("Enter")
    page.get_by_text("Ready. It computes with").wait_for()
    assert page.locator("audio").count() == 0
    assert page.locator("#file").is_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_used_in_every_way(page: Any, tmp_path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe looks for it")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("Ready. It computes with").wait_for()
    soundfile.write(tmp_path / "short.wav", np.zeros((RATE, 2)), RATE)
    page.locator("#file").set_input_files(tmp_path / "short.wav")
    page.get_by_text("Done.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    found = axe.Axe().run(page)
    assert found.response["violations"] == []

"""What the documents say is run: docstrings, Python blocks, README commands, links, make targets.

A fence ```` ```bash network ```` marks commands that need a network; they are skipped here, one
skip each, and a command may stand in such a fence only if it names a release of the catalog. In the
same way ```` ```bash device ```` marks what needs an audio device, which is `live` alone, and
```` ```bash server ```` what answers until it is ended.
"""

import doctest
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from desmezcla.audio.formats import FORMATS
from desmezcla.cli import app
from desmezcla.datasets.demo import render_song
from desmezcla.releases.catalog import catalog

ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", ROOT / "README.es.md")
PAGES = (*READMES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
MODULES = [
    path
    for path in sorted((ROOT / "src" / "desmezcla").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page; `mark` is what stands after its language."""

    page: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    text: str
    mark: str

    def __str__(self) -> str:
        return self.text


def fences(page: Path) -> list[Fence]:
    text = page.read_text(encoding="utf-8")
    return [
        Fence(
            str(page.relative_to(ROOT)),
            text[: found.start()].count("\n") + 1,
            found["language"],
            found["mark"].strip(),
            found["text"],
        )
        for found in re.finditer(
            r"^```(?P<language>\w+)(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", text, re.M | re.S
        )
    ]


def commands(fence: Fence) -> Iterator[Command]:
    if fence.language not in ("bash", "console"):
        return
    for line in fence.text.replace("\\\n", " ").splitlines():
        text = line.removeprefix("$ ").partition("  #")[0].rstrip()
        if text.startswith("desmezcla "):
            yield Command(text, fence.mark)


README_FENCES = [fence for fence in fences(READMES[0]) if any(commands(fence))]
README_COMMANDS = [[c for fence in fences(page) for c in commands(fence)] for page in READMES]


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the documents name, each a song of one second."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "album").mkdir()
    names = ("song.mp3", "song.wav", "album/first.mp3", "album/second.flac")
    for seed, name in enumerate(names):
        song = render_song(seed=seed, duration_s=1.0)
        soundfile.write(folder / name, np.sum(list(song.values()), axis=0).T, 44100)
    return folder


@pytest.fixture
def place(songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move to a fresh copy of the songs, with no release but those of the package."""
    folder = tmp_path / "place"
    shutil.copytree(songs, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")
    return folder


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
@pytest.mark.usefixtures("place")
def test_docstring_examples(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "fence", [f for page in PAGES for f in fences(page) if f.language == "python"], ids=str
)
@pytest.mark.usefixtures("place")
def test_python_blocks(fence: Fence) -> None:
    code = compile("\n" * fence.line + fence.text, fence.page, "exec")
    exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize("fence", README_FENCES, ids=str)
def test_readme_commands(fence: Fence, place: Path) -> None:
    """A command may need what those above it in its fence have made."""
    if fence.mark:
        pytest.skip(f"needs a {fence.mark}, as its fence says")
    for command in commands(fence):
        words = shlex.split(command.text)
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if words[1] == "separate":
            folder = place / ("stems" if "-o" in words else "separated")
            assert list(folder.rglob("vocals.*")), "no stems were written"


def test_both_readmes_show_the_same_commands_and_code() -> None:
    assert README_COMMANDS[0] == README_COMMANDS[1]
    assert len(README_COMMANDS[0]) >= 5
    code = [[f.text for f in fences(page) if f.language == "python"] for page in READMES]
    assert code[0] == code[1] != []


@pytest.mark.parametrize("command", [c for page in README_COMMANDS for c in page], ids=str)
def test_marked_fences_hold_just_what_fetches_a_release_or_plays(command: Command) -> None:
    fetches = bool(set(command.text.split()) & set(catalog()))
    kinds = {"live": "device", "serve": "server"}
    stays = kinds.get(command.text.split()[1], "")
    assert command.mark == ("network" if fetches else stays)


@pytest.mark.parametrize(
    "name",
    [
        *("separate", "live", "stream", "models", "data", "train", "diagnose", "evaluate"),
        *("compare", "export", "serve", "listen", "batch"),
    ],
)
def test_the_page_of_the_command_line_tells_every_option_and_no_other(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## desmezcla {name}.*?(?=^## |\Z)", page, re.M | re.S)
    told = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", section))
    commands = [command, *getattr(command, "commands", {}).values()]
    options = {o for c in commands for p in c.params if p.opts[0][0] == "-" for o in p.opts}
    assert told == options


def test_the_page_of_formats_has_a_row_for_each_format() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([^`]+)`", page, re.M) == list(FORMATS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *(f.text for f in fences(page))])
    named = set(re.findall(r"^\s*make ([a-z]+)", code, re.M))
    assert named <= targets
    if page in READMES:
        assert {"demo", "test"} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []

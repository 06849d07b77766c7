"""The files of a report, and the command from start to end."""

import base64
import csv
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from desmezcla.cli.listen import app
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import StemScores, TrackScores
from desmezcla.evaluation.track_json import track_json
from desmezcla.listening.analysis.report import write_listening_report
from desmezcla.listening.design import ANSWERS_FILE, read_design
from desmezcla.listening.store import ListenerState, Store

from .conftest import answer_all, plain_design, written

NASTY = 'A & <b>|"50 %_{x}"\\'


def rate(listener: ListenerState, song: str, stem: str, condition: str, scale: str) -> int:
    rng = np.random.default_rng([listener.number or 0, *map(ord, song + stem + condition + scale)])
    means = {"system0": 2.0, "system1": 3.0, NASTY: 3.0, "reference": 4.8}
    return int(np.clip(round(means[condition] + rng.normal(0, 0.4)), 1, 5))


def evaluation(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    (folder / "test").mkdir(parents=True)
    for song in ("song0", "song1"):
        stems: dict[str, StemScores] = {}
        for stem in ("stem0", "stem1"):
            frames = rng.normal(5, 2, 4)
            stems[stem] = {"SDR": frames, "ISR": frames, "SIR": frames, "SAR": frames,
                           "global_SDR": 1.0 + seed, "SI-SDR": 2.0 + seed}  # fmt: skip
        text = track_json(TrackScores(song, stems, BssEvalConfig()))
        (folder / "test" / f"{song}.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a test that five listeners have taken, one system of which has a nasty name."""
    root = tmp_path_factory.mktemp("report")
    plain = plain_design(3, repeats=2).model_dump_json().replace('"system1"', json.dumps(NASTY))
    folder = written(type(plain_design()).model_validate_json(plain), root / "t")
    with Store(folder / ANSWERS_FILE) as store:
        for _ in range(5):
            answer_all(store, read_design(folder), rate)
    return folder


@pytest.fixture(scope="module")
def files(answered: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("out")
    scores = {"system0": evaluation(root / "a", 0), NASTY: evaluation(root / "b", 1)}
    done = write_listening_report(answered, root / "out", scores=scores)
    return {
        str(path.relative_to(root / "out")): path.read_text(encoding="utf-8") for path in done.files
    }


def test_all_files_are_written(files: dict[str, str]) -> None:
    texts = {"report.html", "listening.md", "listening.tex", "listening.csv", "pairs.csv"}
    texts |= {"answers.csv", "correlations.csv"}
    plots = {
        f"plots/mos_{scale}{ending}.svg"
        for scale in ("quality", "contamination")
        for ending in ("", "_by_stem", "_by_song", "_objective")
    }
    assert set(files) == texts | plots


def test_the_page_holds_everything_and_needs_nothing(files: dict[str, str]) -> None:
    page = files["report.html"]
    assert "default-src 'none'" in page
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "<script" not in page
    pictures = [a for a in addresses if a.startswith("data:image/svg+xml")]
    assert len(pictures) == 8
    for picture in pictures:
        ET.fromstring(base64.b64decode(picture.partition(",")[2]))
    (raw,) = [a for a in addresses if a.startswith("data:text/csv")]
    assert base64.b64decode(raw.partition(",")[2]).decode() == files["answers.csv"]
    for heading in ("Mean opinion scores", "By stem", "Pairs of conditions", "Screening",
                    "Objective scores", "mixed-effects model"):  # fmt: skip
        assert heading in page
    assert "<b>" not in page


class Cells(HTMLParser):
    """Gathers the text of the cells of the first table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = self.done = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr" and not self.done:
            self.rows.append([])
        self.inside = tag in ("td", "th", "strong")
        if self.inside and tag != "strong" and not self.done:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.done |= tag == "table"
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside and not self.done:
            self.rows[-1][-1] += data


def test_page_markdown_and_csv_tell_the_same_numbers(files: dict[str, str]) -> None:
    rows = [
        row
        for row in csv.DictReader(files["listening.csv"].splitlines())
        if row["by"] == "condition"
    ]
    means = {(row["condition"], row["scale"]): f"{float(row['mos']):.2f}" for row in rows}
    parser = Cells()
    parser.feed(files["report.html"])
    shown = {row[0]: row[1:] for row in parser.rows[1:]}
    assert set(shown) == {"system0", NASTY, "reference"}
    for name, cells in shown.items():
        for scale, cell in zip(("quality", "contamination"), cells, strict=True):
            assert cell.startswith(means[name, scale])
            assert means[name, scale] in files["listening.md"]
            assert means[name, scale] in files["listening.tex"]


def test_raw_answers_are_all_there_and_tell_nobody(files: dict[str, str], answered: Path) -> None:
    rows = list(csv.DictReader(files["answers.csv"].splitlines()))
    design = read_design(answered)
    rated = [row for row in rows if row["condition"]]
    assert len(rated) == 5 * design.trials() * 2
    assert sum(row["repeat"] == "True" for row in rated) == 5 * 2 * 2
    assert {row["listener"] for row in rows} == {"1", "2", "3", "4", "5"}
    with Store(answered / ANSWERS_FILE) as store:
        for listener in store.listeners():
            assert listener.id not in "".join(files.values())


def test_the_same_answers_give_the_same_files(
    files: dict[str, str], answered: Path, tmp_path: Path
) -> None:
    scores = {"system0": evaluation(tmp_path / "a", 0), NASTY: evaluation(tmp_path / "b", 1)}
    again = write_listening_report(answered, tmp_path / "out", scores=scores)
    for path in again.files:
        assert path.read_text(encoding="utf-8") == files[str(path.relative_to(tmp_path / "out"))]


def listen(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def made(results: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "t"
    done = listen(
        *("create", folder, "--system", f"A={results / 'good'}"),
        *("--system", f"B={results / 'bad'}", "--reference", results / "true"),
        *("--excerpt-s", 1, "--stems", "vocals", "--repeats", 1, "--start", "one=1.5", "--json"),
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["songs"], facts["excerpts"], facts["trials"]) == (2, 2, 7)
    assert facts["conditions"] == ["A", "B", "reference"]
    return folder


def test_the_command_makes_a_test_and_reports_it(made: Path, tmp_path: Path) -> None:
    assert read_design(made).excerpts[0].start_s == 1.5
    nobody = listen("report", made)
    assert nobody.exit_code == 1
    assert "nobody has answered yet" in str(nobody.exception)
    means = {"A": 4, "B": 2, "reference": 5}
    with Store(made / ANSWERS_FILE) as store:
        for _ in range(3):
            answer_all(store, read_design(made), lambda *names: means[names[3]])
    done = listen("report", made)
    assert done.exit_code == 0, done.output
    assert "| A | 4.00 [4.00, 4.00] |" in done.stdout
    assert (made / "report" / "report.html").is_file()
    told = listen("report", made, "-o", tmp_path / "other", "--json", "--keep-all")
    scores = json.loads(told.stdout)["scores"]
    assert {(s["condition"], s["mos"]) for s in scores if s["scale"] == "quality"} == {
        ("A", 4.0),
        ("B", 2.0),
        ("reference", 5.0),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "x", "--system", "A"), "must be NAME=VALUE"),
        (("create", "x", "--system", "A=a", "--system", "A=b"), "names 'A' twice"),
        (("create", "x", "--system", "A=a", "--start", "one=soon"), "--start='soon'"),
        (("serve", "nowhere"), "is no listening test"),
        (("report", "nowhere"), "is no listening test"),
        (("report", "nowhere", "--scores", "=x"), "must be NAME=VALUE"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], message: str) -> None:
    done = listen(*arguments)
    assert done.exit_code == 1
    assert message in str(done.exception)


def test_a_server_open_to_a_network_needs_a_token_that_cannot_be_guessed(made: Path) -> None:
    done = listen("serve", made, "--port", 0, "--token", "short")
    assert "5 characters" in str(done.exception)


def test_songs_of_one_track_can_be_compared_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        audio = rng.uniform(-0.3, 0.3, (32_000, 1))
        soundfile.write(tmp_path / name / "vocals.wav", audio, 16_000)
    done = listen(
        *("create", tmp_path / "t", "--system", f"a={tmp_path / 'a'}"),
        *("--system", f"b={tmp_path / 'b'}", "--excerpt-s", 1, "-q"),
    )
    assert (done.exit_code, done.output) == (0, "")
    design = read_design(tmp_path / "t")
    # One stem is not the song, so that there is nothing to play of it, and no example.
    assert (design.songs[0].mixture, design.calibration) == (None, ())

"""The HTML report: whole, inert whatever the names are, and drawn without a complaint."""

import base64
import json
import math
import re
import runpy
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.comparing.comparison_tables import Averaging, scored
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.report import write_report
from desmezcla.evaluation.report.excerpts import read_excerpts
from desmezcla.evaluation.report.page import render
from desmezcla.evaluation.report.plots import box, packed_frames
from desmezcla.evaluation.scores import FRAME_METRICS, METRICS, Results, StemScores, TrackScores

for _package in ("pandas", "scipy"):
    pytest.importorskip(_package, reason="comes with the extra `eval`")

STEMS = ("vocals", "bass")
FOUR_STEMS = ("vocals", "drums", "bass", "other")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "{{ 7 * 7 }} & <b>bold</b> 🎤 \u2028 \\u003c ]]> <!--",
)
MEDIANS = Averaging("median", "median", 0.95, BssEvalConfig())
VOID = {"meta", "link", "br", "img", "input", "col"}


class Page(HTMLParser):
    """What stands in a page, and whether its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> stands in the wrong place"

    def handle_data(self, text: str) -> None:
        for tag in self.open:
            self.content.setdefault(tag, []).append(text)

    def values(self, attribute: str) -> list[str]:
        return [
            attributes[attribute] or ""
            for _, attributes in self.elements
            if attribute in attributes
        ]

    def data(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.content["script"][0])
        return parsed


def stem_scores(rng: np.random.Generator, frames: int) -> StemScores:
    return {
        "SDR": rng.normal(5, 3, frames),
        "ISR": rng.normal(9, 3, frames),
        "SIR": rng.normal(8, 4, frames),
        "SAR": rng.normal(5, 2, frames),
        "global_SDR": float(rng.normal(5)),
        "SI-SDR": float(rng.normal(4)),
    }


def example(
    *,
    systems: tuple[str, ...] = ("One",),
    tracks: tuple[str, ...] = ("A", "B", "C"),
    stems: tuple[str, ...] = STEMS,
    frames: int = 6,
    seed: int = 0,
) -> list[Results]:
    rng = np.random.default_rng(seed)
    return [
        Results(
            system,
            tuple(
                TrackScores(
                    track=name,
                    stems={stem: stem_scores(rng, frames) for stem in stems},
                    config=BssEvalConfig(),
                    genre=("Rock", "Jazz")[index % 2],
                    duration_s=float(frames),
                    peaks=tuple(rng.random(10 * frames)),
                )
                for index, name in enumerate(tracks)
            ),
        )
        for system in systems
    ]


def changed(results: list[Results], **changes: Any) -> list[Results]:
    return [replace(r, tracks=tuple(replace(t, **changes) for t in r.tracks)) for r in results]


def add_excerpts(results: Results, root: Path, track: str, size_bytes: int = 300) -> Results:
    folder = root / "excerpts" / track
    folder.mkdir(parents=True)
    for name in ("mixture", "vocals", "vocals.reference"):
        (folder / f"{name}.mp3").write_bytes(
            f"{root.name} {name} ".encode().ljust(size_bytes, b".")
        )
    return replace(results, root=root)


def check(text: str) -> Page:
    """Assert what holds for every report."""
    page = Page(text)
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for reference in [*page.values("aria-labelledby"), *page.values("for")]:
        assert reference in ids
    links = [*page.values("src"), *page.values("href")]
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert [link for link in links if link.startswith("#") and link[1:] not in ids] == []
    assert re.findall(r"@import|url\(", "".join(page.content["style"])) == []
    assert re.findall(r"\b(?:fetch|XMLHttpRequest|import)\b", page.content["script"][1]) == []
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2
    assert [a for _, attributes in page.elements for a in attributes if a.startswith("on")] == []
    assert [tag for tag, _ in page.elements if tag == "h1"] == ["h1"]
    return page


def test_a_report_is_one_file_with_all_of_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "report.html"
    write_report(example(systems=("One", "Two")), path, title="Two systems", metric="SIR")
    page = check(path.read_text(encoding="utf-8"))
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert page.content["h1"] == ["Two systems"]
    headings = "".join(page.content["h2"])
    for part in ("compared", "Overall", "Spread", "genre", "Track by track", "time", "chance"):
        assert part in headings
    assert page.values("data-metric") == [*METRICS, *METRICS]
    data = page.data()
    assert data["metric"] == "SIR"
    assert data["systems"] == ["One", "Two"]
    assert BssEvalConfig().describe() in "".join(page.content["p"])


def test_the_same_results_give_the_same_page() -> None:
    assert render(example()) == render(example())


def test_charts_show_the_scores_of_the_results() -> None:
    results = example(systems=("One", "Two"), frames=5)
    data = check(render(results)).data()
    for i, result in enumerate(results):
        for k, track in enumerate(result.tracks):
            frames = track.stems["bass"]["SAR"]
            assert data["scores"]["SAR"]["bass"][i][k] == pytest.approx(
                np.median(frames), abs=0.005
            )
            packed = base64.b64decode(data["frames"][k][i]["stems"]["bass"]["SAR"])
            np.testing.assert_allclose(np.frombuffer(packed, "<i2") / 100, frames, atol=0.00501)
    rock = [np.median(results[1].tracks[k].stems["vocals"]["SDR"]) for k in (0, 2)]
    assert [genre["name"] for genre in data["genres"]] == ["Jazz", "Rock"]
    assert data["genre_scores"]["SDR"]["vocals"][1][1] == pytest.approx(np.median(rock), abs=0.005)


@given(npst.arrays(np.float64, st.integers(0, 20), elements=st.floats(width=64)))
def test_packed_frames_keep_hundredths_of_a_db_and_gaps(values: np.ndarray) -> None:
    packed = np.frombuffer(base64.b64decode(packed_frames(values)), "<i2")
    assert packed.shape == values.shape
    np.testing.assert_array_equal(packed == -(2**15), ~np.isfinite(values))
    kept = np.isfinite(values)
    expected = np.clip(values[kept], -327.67, 327.67)
    np.testing.assert_allclose(packed[kept] / 100, expected, atol=0.00501)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_a_box_is_that_of_matplotlib(values: list[float]) -> None:
    stats = pytest.importorskip("matplotlib.cbook").boxplot_stats(values)[0]
    found = box([*values, math.nan, math.inf])
    assert found is not None
    assert found["tracks"] == len(values)
    for name, other in (("q1", "q1"), ("median", "med"), ("q3", "q3")):
        assert found[name] == pytest.approx(stats[other], abs=0.00501)
    for name, other in (("low", "whislo"), ("high", "whishi")):
        assert found[name] == pytest.approx(stats[other], abs=0.00501)


def test_names_that_look_like_code_are_text(tmp_path: Path) -> None:
    script, image, braces = HOSTILE
    results = example(systems=(script, image), tracks=HOSTILE, stems=(braces, script))
    results = changed(results, genre=script, notes=(image,))
    about = {
        "system": {"name": script, image: script},
        "dataset": [image, braces],
        "version": image,
    }
    results = [replace(result, about=about) for result in results]
    text = render(results, title=image)
    page = check(text)
    assert "img" not in {tag for tag, _ in page.elements}
    assert "b" not in {tag for tag, _ in page.elements}
    assert page.content["h1"] == [image]
    data = page.data()
    assert data["systems"] == [script, image]
    assert {track["name"] for track in data["tracks"]} == set(HOSTILE)
    assert "49" not in page.content["title"]
    assert "<" not in page.content["script"][0]


@settings(max_examples=8)
@given(st.text(min_size=1))
def test_any_name_comes_through(name: str) -> None:
    results = example(systems=(name,), tracks=("A",), stems=("vocals",), frames=2)
    page = check(render(results).encode("utf-8", "replace").decode("utf-8"))
    assert page.data()["systems"] == [name]


def test_the_policy_of_the_page_names_its_own_script_and_style() -> None:
    page = check(render(example()))
    (policy,) = (a["content"] for t, a in page.elements if a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_excerpts_are_embedded_once_for_each_sound(tmp_path: Path) -> None:
    first, second = example(systems=("One", "Two"))
    first = add_excerpts(first, tmp_path / "first", "B")
    second = add_excerpts(second, tmp_path / "second", "B")
    page = check(render([first, second]))
    sounds = [a["src"] for tag, a in page.elements if tag == "audio"]
    heard = [base64.b64decode((s or "").partition(",")[2]).rstrip(b".").decode() for s in sounds]
    assert heard == ["first mixture ", "first vocals.reference ", "first vocals ", "second vocals "]
    labels = [a["aria-label"] for tag, a in page.elements if tag == "audio"]
    assert labels[-1] == "B, vocals: Two"


def test_excerpts_that_are_too_large_are_left_out_and_named(tmp_path: Path) -> None:
    (one,) = example()
    for track, size_bytes in (("A", 4000), ("B", 300), ("C", 300)):
        one = add_excerpts(one, tmp_path, track, size_bytes)
    text = render([one], excerpts_bytes=2000)
    page = check(text)
    assert len([tag for tag, _ in page.elements if tag == "audio"]) == 6
    assert re.search(r"Left out.*\n\s*A\. The files", text)
    assert [e.track for e in read_excerpts([one], STEMS, limit_bytes=1000)[0]] == ["B"]


def test_excerpts_are_sought_in_the_folder_of_the_results_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = example(tracks=("A", "..", ""), stems=("vocals", "../x/vocals"))
    inside = add_excerpts(one, tmp_path / "results", "x")
    monkeypatch.chdir(tmp_path / "results")
    for result in (inside, replace(one, root=None), replace(one, root=tmp_path / "results" / "x")):
        assert read_excerpts([result], result.stems) == ([], [])


def test_names_that_no_file_can_have_have_no_excerpts(tmp_path: Path) -> None:
    (one,) = example(tracks=("a" * 5000, "b\0"), stems=("c" * 5000,))
    assert read_excerpts([replace(one, root=tmp_path)], one.stems) == ([], [])


@pytest.mark.parametrize(
    "changes",
    [{"peaks": ()}, {"genre": ""}, {"duration_s": 0.0}, {"peaks": (math.nan, 2.0, -1.0)}],
    ids=["no peaks", "no genres", "no duration", "odd peaks"],
)
def test_what_other_programs_do_not_write_may_be_missing(changes: dict[str, Any]) -> None:
    data = check(render(changed(example(), **changes))).data()
    assert (data["genres"] == []) == ("genre" in changes)


def test_metrics_that_were_not_chosen_are_not_offered() -> None:
    results = example()
    scores = scored(results, MEDIANS, metrics=("SI-SDR", "SDR"))
    page = check(render(results, metric="SI-SDR", scores=scores))
    assert page.data()["metrics"] == list(page.data()["boxes"]) == ["SDR", "SI-SDR"]
    assert page.values("data-metric") == ["SDR", "SI-SDR"]
    with pytest.raises(ParameterError, match="must be one of SDR, SI-SDR"):
        render(results, metric="SAR", scores=scores)


def test_what_one_system_does_not_know_of_a_track_another_one_may() -> None:
    one, two = example(systems=("One", "Two"))
    (one,) = changed([one], genre="", peaks=(), duration_s=0.0)
    data = check(render([one, two])).data()
    assert data["tracks"] == check(render([two])).data()["tracks"]
    assert [genre["tracks"] for genre in data["genres"]] == [1, 2]


@pytest.mark.parametrize("systems", [("One",), ("One", "Two")])
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_one_system_and_one_track_and_few_frames_are_enough(
    systems: tuple[str, ...], frames: int
) -> None:
    page = check(render(example(systems=systems, tracks=("A",), stems=("vocals",), frames=frames)))
    assert ("tests" in page.values("id")) == (len(systems) > 1)
    assert "#tests" not in page.values("href") or len(systems) > 1


def test_a_stem_without_a_score_has_none_anywhere() -> None:
    results = example(systems=("One", "Two"))
    silent: StemScores = {
        "SDR": np.full(6, np.nan),
        "ISR": np.full(6, np.inf),
        "SIR": np.full(6, np.nan),
        "SAR": np.full(6, -np.inf),
        "global_SDR": math.nan,
        "SI-SDR": -math.inf,
    }
    for result in results:
        for track in result.tracks:
            track.stems["bass"] = silent
    page = check(render(results))
    for metric in METRICS:
        assert page.data()["boxes"][metric]["bass"] == [None, None]
        assert page.data()["scores"][metric]["bass"] == [[None] * 3] * 2
    assert re.search(r"\bnan\b|\binf\b", "".join(page.content["td"])) is None


def test_systems_of_other_tracks_and_settings_are_told_apart() -> None:
    one, two = example(systems=("One", "Two"))
    two = replace(two, tracks=two.tracks[1:])
    page = check(render([one, two]))
    assert "same tracks" in "".join(page.content["strong"])
    assert "same settings" not in "".join(page.content["strong"])
    assert page.data()["frames"][0][1] is None
    (other,) = changed([two], config=BssEvalConfig(window_s=2.0, hop_s=1.5))
    page = check(render([one, other]))
    assert "same settings" in "".join(page.content["strong"])
    assert page.data()["frames"][1][1]["window_s"] == 2.0


def test_a_frame_as_long_as_the_track_has_no_curve() -> None:
    page = check(render(changed(example(frames=1), config=BssEvalConfig(window_s=math.inf))))
    assert page.data()["frames"] == [[None]] * 3


def test_tracks_of_one_name_in_two_splits_stay_apart() -> None:
    (one,) = example(tracks=("A", "A"))
    one = replace(one, tracks=(one.tracks[0], replace(one.tracks[1], split="train")))
    data = check(render([one])).data()
    assert [(track["name"], track["split"]) for track in data["tracks"]] == [
        ("A", "test"),
        ("A", "train"),
    ]
    scores = [np.median(track.stems["vocals"]["SDR"]) for track in one.tracks]
    np.testing.assert_allclose(data["scores"]["SDR"]["vocals"][0], scores, atol=0.00501)


def test_notes_of_several_systems_stand_there_once() -> None:
    page = check(
        render(
            changed(example(systems=("One", "Two"), tracks=("A",)), notes=("vocals are silent",))
        )
    )
    assert page.content["td"].count("vocals are silent") == 1
    assert "One, Two" in page.content["td"]


def test_a_large_comparison_stays_small() -> None:
    tracks = tuple(f"Track {index}" for index in range(50))
    systems = ("One", "Two", "Three")
    results = example(systems=systems, tracks=tracks, stems=FOUR_STEMS, frames=240)
    assert len(FRAME_METRICS) * len(systems) * len(tracks) * len(FOUR_STEMS) * 240 == 576_000
    # Intervals of one metric are enough here, and take a sixth of the time.
    scores = scored(results, MEDIANS, metrics=("SDR",))
    assert len(render(results, scores=scores).encode()) < 3_000_000


def test_scores_that_were_put_together_otherwise_say_so() -> None:
    results = example(systems=("One", "Two"))
    means = Averaging("mean", "mean", 0.9, BssEvalConfig())
    page = check(render(results, scores=scored(results, means)))
    assert "mean of frames, mean of tracks" in "".join(page.content["caption"])
    assert "with 90 % intervals" in "".join(page.content["caption"])
    assert page.data()["tracks_by"] == "mean"
    frames = results[1].tracks[2].stems["bass"]["SIR"]
    shown = page.data()["scores"]["SIR"]["bass"][1][2]
    assert shown == pytest.approx(np.mean(frames), abs=0.00501)


@pytest.mark.parametrize(
    ("results", "metric", "message"),
    [
        ([], "SDR", "at least one system"),
        ([Results("One", ())], "SDR", "at least one system"),
        (example(systems=("One", "One")), "SDR", "two systems called 'One'"),
        (example(), "SDR!", "metric='SDR!' must be one of SDR"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    results: list[Results], metric: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=message):
        write_report(results, tmp_path / "report.html", metric=metric)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(EvaluationError, match="cannot be written"):
        write_report(example(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_picture_of_the_docs_shows_what_a_report_can_show() -> None:
    script = Path(__file__).parents[2] / "scripts" / "report_picture.py"
    made = runpy.run_path(str(script))["example_results"](tracks=5, frames=70)
    page = check(render(made))
    data = page.data()
    assert len(data["systems"]) == 3
    assert len(data["genres"]) == 5
    assert data["boxes"]["SDR"]["vocals"][0]["tracks"] == 4  # one song has none
    assert "notes" in page.values("id")


def test_a_browser_draws_it_without_a_complaint(tmp_path: Path, chromium: str) -> None:
    page = tmp_path / "report.html"
    write_report(example(systems=HOSTILE, tracks=HOSTILE), page)
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    done = subprocess.run(
        [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    drawn = Page(done.stdout[done.stdout.index("<html") :])
    kinds = [tag for tag, _ in drawn.elements]
    assert kinds.count("svg") == len(STEMS) + 1 + len(HOSTILE)  # boxes, curves, their legend
    assert kinds.count("circle") == len(STEMS) * len(HOSTILE) ** 2
    assert "img" not in kinds
    assert "49" not in "".join(drawn.content["h1"])

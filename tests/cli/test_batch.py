import json
from pathlib import Path
from typing import Any

import pytest

from desmezcla.evaluation import optional

parquet = pytest.importorskip("pyarrow.parquet", reason="the ledger needs the extra cluster")


def test_a_list_of_songs_is_separated_as_separate_does(
    desmezcla: Any, song: Any, tmp_path: Path
) -> None:
    options = ("-m", "tiny", "--flac", "--two-stems", "bass", "--overlap", "0.5")
    for seed, name in enumerate(("one.wav", "two.wav")):
        song(name, samples=5000, seed=seed)
    (tmp_path / "list.csv").write_text("path,track\none.wav,Uno\ntwo.wav,Dos\nmissing.wav,Tres\n")
    out = tmp_path / "out"
    done = desmezcla("batch", tmp_path / "list.csv", "-o", out, *options, "--json")
    assert done.code == 1
    assert "Traceback" not in done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert (events[0]["event"], events[0]["tracks"]) == ("start", 3)
    assert events[-1] == {"event": "done", "input": None, "done": 2, "failed": 1}
    (error,) = [event for event in events if event["event"] == "error"]
    assert error["input"] == str(tmp_path / "missing.wav")
    whole = [e["fraction"] for e in events if e["event"] == "progress" and e["input"] == str(out)]
    assert whole == sorted(whole)
    assert whole[-1] == 1

    again = tmp_path / "again"
    assert desmezcla("separate", tmp_path / "one.wav", "-o", again, *options).code == 0
    for stem in ("bass", "no_bass"):
        made = (out / f"tiny/Uno/{stem}.flac").read_bytes()
        assert made == (again / f"tiny/one/{stem}.flac").read_bytes()
    record = (out / "tiny/Uno/separation.json").read_text()
    assert record == (again / "tiny/one/separation.json").read_text()

    (tmp_path / "list.csv").write_text("path,track\none.wav,Uno\ntwo.wav,Dos\n")
    done = desmezcla("batch", tmp_path / "list.csv", "-o", out, *options)
    assert done.code == 0
    assert done.err.count("(there already)") == 2
    (ledger,) = (out / "ledger").glob("*.parquet")
    states = parquet.read_table(ledger, columns=["state"]).column("state").to_pylist()
    assert sorted(states) == ["done", "done", "failed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address", "x:1"], "address='x:1' needs engine='ray'"),
        (["--device", ","], "--device=','"),
        (["--device", "cpu,abacus"], "'abacus'"),
        (["--jobs", "0"], "--jobs"),
        (["--attempts", "0"], "--attempts"),
        (["--mp3", "--flac"], "only one format"),
        (["--engine", "ray", "--device", "cuda:0,cuda:1"], "Ray gives each worker a GPU"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(
    desmezcla: Any, song: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = desmezcla("batch", song().parent, "-o", tmp_path / "out", "-m", "tiny", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_manifest_without_its_column_is_told(desmezcla: Any, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file\na.mp3\n")
    done = desmezcla("batch", tmp_path / "list.csv", "-o", tmp_path / "out", "-m", "tiny")
    assert done.code == 1
    assert "must have the column 'path', but its columns are 'file'" in done.err


def test_a_missing_package_is_told_with_its_extra(
    desmezcla: Any, song: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(optional, "import_module", missing)
    for arguments in ([], ["--engine", "ray"]):
        done = desmezcla("batch", song().parent, "-o", tmp_path / "out", "-m", "tiny", *arguments)
        assert done.code == 1
        assert "pip install 'desmezcla[cluster]'" in done.err

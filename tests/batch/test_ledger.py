from pathlib import Path

import pytest

from desmezcla.batch import ledger as ledgers
from desmezcla.batch.ledger import Ledger, Row
from desmezcla.errors import DatasetError

parquet = pytest.importorskip("pyarrow.parquet", reason="the ledger needs the extra cluster")


def row(number: int, **changes: object) -> Row:
    known: dict[str, object] = {
        "input": f"{number}.mp3",
        "track": f"song {number}",
        "state": "done",
        "reason": "",
        "seconds": 1.5,
        "audio_seconds": 3.25,
        "worker": "here/1",
        "attempts": 1,
        "release": "baseline",
        "release_sha256": "ab",
        "version": "1",
        "request": "12",
        "input_stamp": "3",
        "record": "r.json",
        "record_stamp": "4",
        "ended": 1_700_000_000.25,
    }
    return Row(**known | changes)  # type: ignore[arg-type]


def files(out: Path) -> list[Path]:
    return sorted((out / "ledger").glob("*"))


def test_rows_are_found_again_and_the_last_one_counts(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), tmp_path)
    for number in range(3):
        ledger.add(row(number))
    ledger.close()
    ledger = Ledger(str(tmp_path), tmp_path)
    assert ledger.find("1.mp3", "song 1") == row(1)
    assert ledger.find("1.mp3", "song 2") is None
    ledger.add(row(1, state="failed", reason="no luck"))
    ledger.close()
    (file,) = files(tmp_path)
    found = {r["track"]: r["state"] for r in parquet.read_table(file).to_pylist()}
    assert found == {"song 0": "done", "song 1": "failed", "song 2": "done"}


def test_rows_are_written_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_FLUSH_S", 0.0)
    monkeypatch.setattr(ledgers, "_MANY_FILES", 5)
    ledger = Ledger(str(tmp_path), tmp_path)
    for number in range(20):
        ledger.add(row(number))
        assert 1 <= len(files(tmp_path)) <= 5
        again = Ledger(str(tmp_path), tmp_path)  # as after a kill
        assert again.find(f"{number}.mp3", f"song {number}") == row(number)
        again._table.close()
    ledger.close()
    assert len(files(tmp_path)) == 1


def test_names_are_claimed_once(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), tmp_path)
    assert ledger.claim(["a", "b"], "one") is None
    assert ledger.claim(["c", "b"], "two") == "one"
    assert ledger.claim(["c"], "two") is None
    ledger.close()


@pytest.mark.parametrize("content", [b"no ledger", None])
def test_a_damaged_ledger_is_told(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "ledger").mkdir()
    path = tmp_path / "ledger/x.parquet"
    if content is None:
        arrow = pytest.importorskip("pyarrow", reason="the ledger needs the extra cluster")
        parquet.write_table(arrow.table({"other": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.parquet.*is no ledger of desmezcla"):
        Ledger(str(tmp_path), tmp_path)

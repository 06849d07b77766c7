"""Ray's own cluster of two nodes on this machine, one of which is killed."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desmezcla.batch.batching import run_batch
from desmezcla.batch.driver import drive
from desmezcla.batch.engines import Engine
from desmezcla.batch.track import BatchJob
from desmezcla.errors import DesmezclaError, ParameterError

from . import doing
from .conftest import ROOT, WriteSongs, tree

ray = pytest.importorskip("ray", reason="clusters need the extra cluster")
parquet = pytest.importorskip("pyarrow.parquet", reason="the ledger needs the extra cluster")

# Ray's own business.
pytestmark = pytest.mark.filterwarnings("ignore")

SONGS = 20


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Dead nodes are to be noticed soon.
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": health},
    )
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def test_a_node_that_dies_costs_nothing(
    cluster: Any, write_songs: WriteSongs, tmp_path: Path
) -> None:
    songs = write_songs(SONGS)
    songs[7].write_bytes(b"no music at all")
    here, out = tmp_path / "here", tmp_path / "out"
    music = str(songs[0].parent)
    local = Engine(jobs=os.cpu_count())  # one thread each, as on the cluster
    assert run_batch(BatchJob("baseline", str(here)), music, _nothing, engine=local) == (
        SONGS - 1,
        1,
    )
    second = cluster.add_node(num_cpus=1)
    killed: list[str] = []
    ends: Counter[str] = Counter()

    def report(event: dict[str, Any]) -> None:
        if event["event"] in ("file", "error"):
            ends[event["input"]] += 1
        if event["event"] == "progress" and len(ends) >= 4 and not killed:
            killed.append(second.node_id)
            cluster.remove_node(second, allow_graceful=False)

    engine = Engine("ray", address=cluster.address)
    assert run_batch(BatchJob("baseline", str(out)), music, report, engine=engine) == (SONGS - 1, 1)
    assert killed
    assert set(ends.values()) == {1}
    assert tree(out) == tree(here)
    (ledger,) = (out / "ledger").glob("*.parquet")
    rows = parquet.read_table(ledger).to_pylist()
    assert len(rows) == SONGS
    assert [row["track"] for row in rows if row["state"] == "failed"] == ["song7"]
    assert len({row["worker"].split("/")[1] for row in rows}) == 2  # nodes
    assert all(row["attempts"] <= 2 for row in rows)
    assert not list(Path(tempfile.gettempdir()).glob("desmezcla-batch-*"))


def test_errors_of_a_cluster(cluster: Any) -> None:
    workers = Engine("ray", jobs=1, address=cluster.address).workers(doing.refuse, ())
    with pytest.raises(DesmezclaError, match="the model is broken"):
        drive(workers, ["one"], lambda *_: None, name=str)


def test_a_cluster_that_is_not_there_is_told() -> None:
    with pytest.raises(DesmezclaError, match="no Ray cluster answers"):
        Engine("ray", address="127.0.0.1:1").workers(doing.refuse, ()).__enter__()


@pytest.mark.parametrize("devices", [("cuda:0",), ("cuda", "cpu")])
def test_devices_of_a_cluster_are_not_chosen_by_number(devices: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match="Ray gives each worker"):
        Engine("ray", devices=devices)


def _nothing(event: dict[str, Any]) -> None:
    pass

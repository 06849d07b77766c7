"""Ray's own cluster of two nodes on this machine, one of which is killed."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desmezcla.batch.batching import run_batch
from desmezcla.batch.driver import drive
from desmezcla.batch.engines import Engine
from desmezcla.batch.evaluating import EvaluationJob, run_evaluation
from desmezcla.batch.track import BatchJob
from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.running.estimates import open_references
from desmezcla.evaluation.running.scoring import TrackOptions
from desmezcla.evaluation.running.systems import open_system

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
    under_way: set[str] = set()

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "start" and event["input"] != str(out):
            under_way.add(event["input"])
        elif event["event"] in ("file", "error"):
            ends[event["input"]] += 1
            under_way.discard(event["input"])
            if not killed:
                time.sleep(0.7)  # on a busy machine, the other worker starts later
        # Each of the nodes has a track then.
        if len(under_way) == 2 and len(ends) >= 2 and not killed:
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
    assert all(row["attempts"] <= 2 for row in rows)
    assert not list(Path(tempfile.gettempdir()).glob("desmezcla-batch-*"))


def test_an_evaluation_on_a_cluster_gives_the_same_scores(cluster: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        folder = tmp_path / "data/test" / name
        folder.mkdir(parents=True)
        for stem in ("vocals", "bass"):
            soundfile.write(folder / f"{stem}.wav", rng.uniform(-0.2, 0.2, (16000, 1)), 8000)
    results = []
    for engine in (Engine(jobs=os.cpu_count()), Engine("ray", address=cluster.address)):
        out = tmp_path / engine.kind
        job = EvaluationJob(
            open_system=partial(open_system, "mixture"),
            out=out,
            options=TrackOptions(BssEvalConfig(filter_samples=8), None),
            excerpts=0,
        )
        ended = run_evaluation(job, open_references(tmp_path / "data"), _nothing, engine=engine)
        assert (ended.done, ended.failed) == (2, 0)
        results.append(tree(out))
    assert results[0] == results[1]


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

"""The description of the API, with requests made up from it: no server error, nothing untold."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desmezcla.studio.app import studio_app
from desmezcla.studio.settings import make_settings
from desmezcla.studio.store import open_store

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis makes up the requests")

HOST = {"Host": "127.0.0.1"}
ENDLESS = "/api/events"
# A description cannot say which bytes are a song.
TAKES_ALL = schemathesis.checks.positive_data_acceptance


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Any:
    limits = make_settings(data=tmp_path_factory.mktemp("data"), max_jobs_per_client=3)
    store = open_store(limits)
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", studio_app(limits, store), headers=HOST
    )
    found = [operation.ok() for operation in schema.get_all_operations()]
    yield [operation for operation in found if operation.path != ENDLESS]
    store.close()


def test_the_api_does_what_its_description_says(operations: Any) -> None:
    assert len(operations) > 12
    for operation in operations:
        kinds = [operation.as_strategy(generation_mode=m) for m in schemathesis.GenerationMode]

        @given(case=st.one_of(kinds))
        @settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
        def check(case: Any) -> None:
            case.call_and_validate(headers=HOST, excluded_checks=[TAKES_ALL])

        check()

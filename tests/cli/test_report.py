"""What commands show is theirs alone: whoever calls one from Python keeps the log as it was."""

import logging

import pytest

from desmezcla.cli.report import reporter


@pytest.mark.parametrize("quiet", [True, False])
def test_the_log_is_as_it_was_when_a_command_ends(quiet: bool) -> None:
    log = logging.getLogger("desmezcla")
    before = log.level, list(log.handlers)
    with reporter(as_json=False, quiet=quiet, verbose=False):
        assert log.getEffectiveLevel() == (logging.ERROR if quiet else logging.WARNING)
    assert (log.level, log.handlers) == before

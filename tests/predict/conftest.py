import pytest

from tests.predict import untrained


@pytest.fixture(scope="session")
def untrained_workdir(tmp_path_factory):
    """Of a run with random weights, which no test changes."""
    return untrained.make(tmp_path_factory.mktemp("runs") / "untrained")

"""What is checked of the tests themselves, and what tests of several folders share."""

import gc
import re

import pytest

collect_ignore = ["without"]


def pytest_collection_modifyitems(items):
    """Refuse the address of an object in the id of a test: `make` collects in several processes, which must agree."""
    unstable = [item.nodeid for item in items if re.search(r"0x[0-9a-f]{6}|id='\d{9}", item.nodeid)]
    if unstable:
        raise pytest.UsageError("give these tests ids without addresses:", *unstable)


def pytest_collection_finish():
    """Exempt what was imported and collected from garbage collection, which many tests ask for: it takes a tenth."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def no_collector():
    """Only reference counts free objects, and nothing runs in between, such as the callbacks of a collection."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def few_visits_kept():
    """A tenth of the visits that a record usually keeps, so that a run of more of them takes a tenth of the time."""
    from llmflow_nb.runs import recorder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "MAX_VISITS", recorder.MAX_VISITS // 10)
        patch.setattr(recorder, "SLACK", recorder.SLACK // 10)
        yield recorder.MAX_VISITS

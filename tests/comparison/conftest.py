"""Each test begins without the results of a comparison in which something has failed."""

import pytest

from llmflow_nb.comparison.compare import _unfinished


@pytest.fixture(autouse=True)
def _nothing_is_unfinished():
    _unfinished.clear()

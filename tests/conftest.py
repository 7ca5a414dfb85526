"""What is checked of the tests themselves."""

import re

import pytest


def pytest_collection_modifyitems(items):
    """Refuse the address of an object in the id of a test: `make` collects in several processes, which must agree."""
    unstable = [item.nodeid for item in items if re.search(r"0x[0-9a-f]{6}|id='\d{9}", item.nodeid)]
    if unstable:
        raise pytest.UsageError("give these tests ids without addresses:", *unstable)

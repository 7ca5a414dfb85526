"""The endpoint that the tests of `call_llm` ask, set in the environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.llm.endpoint import KEY, Endpoint, serving


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Endpoint]:
    """A server for each test. Nothing is encrypted, so no certificates are read, which takes 50 ms for each client."""
    for name in ("OPENAI_MODEL", "LLMFLOW_NB_MODEL", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("NO_PROXY", "*")
        yield server

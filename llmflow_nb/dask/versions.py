"""Which versions of packages on a cluster differ from those here."""

from collections.abc import Mapping
from typing import Any

from distributed import Client

__all__ = ["differences"]

SAME = "llmflow_nb", "dask", "distributed", "cloudpickle", "msgpack"
"""The packages that write and read what is sent: Dask promises nothing about two versions of them."""


def differences(client: Client) -> list[str]:
    """Return a text for each scheduler and worker that has other versions than this process."""
    found: Any = client.get_versions(packages=SAME[:1])
    here = _versions(found["client"])
    elsewhere = {
        "the scheduler": found["scheduler"],
        **{f"the worker {key}": value for key, value in found["workers"].items()},
    }
    texts = []
    for place, versions in elsewhere.items():
        there = _versions(versions)
        others = [f"{name} {there[name]} (here {here[name]})" for name in here if there[name] != here[name]]
        if others:
            texts.append(f"{place} has {', '.join(others)}")
    return texts


def _versions(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return versions by name. Of Python only the first two numbers: they decide which bytecode it runs."""
    packages = facts["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"Python": python} | {name: packages.get(name) or "missing" for name in SAME}

"""Fetch the scripts that the browser tests need from npm into build/npm: `python tests/browser/npm.py`.

Such a script holds all that it needs, so the archive of its package is enough: installing the package would bring 160
more. Where npm is not installed, nothing is fetched, and the tests that need a script are skipped.
"""

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "build" / "npm"


class Script(NamedTuple):
    """A file of a package, and the SHA-512 of the package as npm names it."""

    package: str
    file: str
    integrity: str


SCRIPTS = {
    "ipywidgets.js": Script(  # the widget manager of VS Code
        "@vscode/jupyter-ipywidgets8@1.0.9",
        "package/dist/ipywidgets.js",
        "bocCThfa4JDIDd7qCFAfW3HpzHfTLYxOTpTbiDfw4DXOUjKHnr6ObkMBiIkuzYPRybh5bY4FhYLemuDuTvIbpQ==",
    ),
}


def fetch(script: Script, target: Path) -> None:
    """Write a script to a file.

    Raises:
        ValueError: The package is not the one that is named here.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=30000"]
        command += ["--pack-destination", folder, script.package]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        (archive,) = Path(folder).glob("*.tgz")
        data = archive.read_bytes()
    if (found := base64.b64encode(hashlib.sha512(data).digest()).decode()) != script.integrity:
        raise ValueError(f"{script.package} has the SHA-512 {found}, not {script.integrity}")
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        content = package.extractfile(script.file)
        assert content is not None, script.file
        target.write_bytes(content.read())


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, script in SCRIPTS.items():
        mark = FOLDER / f"{name}.sha512"
        if mark.exists() and mark.read_text() == script.integrity:
            continue
        if shutil.which("npm") is None:
            print(f"npm is not installed: the browser tests that need {script.package} are skipped")
            continue
        try:
            fetch(script, FOLDER / name)
        except subprocess.CalledProcessError as exc:
            print(f"{exc}: the browser tests that need {script.package} are skipped")
            continue
        mark.write_text(script.integrity)


if __name__ == "__main__":
    main()

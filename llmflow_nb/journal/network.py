"""Find out whether a file is on a network file system, where the locks of SQLite may not hold."""

import re
from contextlib import suppress
from pathlib import Path

__all__ = ["network_of"]

_MOUNTS = Path("/proc/self/mounts")
_NETWORK = re.compile(r"(nfs\d*|cifs|smb\w*|afs|9p|glusterfs|ceph|lustre|beegfs|fuse\.(sshfs|glusterfs|s3fs|rclone))$")


def network_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the kind of the network file system that a file is on; "" if it is on none, or if that is unknown.

    Args:
        path: The file, without symbolic links.
        mounts: The table of mounted file systems, as Linux writes it.
    """
    kind, longest = "", 0
    with suppress(OSError, UnicodeDecodeError):  # other systems have no such table
        table = [line.split(" ") for line in mounts.read_text().splitlines()]
        if not any(_NETWORK.match(type_) for _, _, type_, *_ in table):
            return ""
        for _, where, type_, *_ in table:
            folder = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), where)
            if path.is_relative_to(folder) and len(folder) >= longest:
                kind, longest = type_, len(folder)
    return kind if _NETWORK.match(kind) else ""

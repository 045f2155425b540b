"""What kind of file system a folder lies on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

#: Kinds of file system, as mount(8) names them, whose files are on another machine: SQLite's locks cannot be trusted
#: there, and a write takes as long as the network likes.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs",
     "fuse.glusterfs", "fuse.ceph", "fuse.beegfs"}
)  # fmt: skip


def network_file_system(folder: Path) -> str | None:
    """The kind of network file system that `folder` lies on, or None when it is local (proc(5), mountinfo)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux: no cheap way to know
        return None
    return _kind_of_mount(str(folder.resolve()), lines)


def _kind_of_mount(folder: str, mountinfo: Sequence[str]) -> str | None:
    best, kind = "", ""
    for line in mountinfo:
        left, _, right = line.partition(" - ")
        point = _unescaped(left.split()[4])
        if len(point) >= len(best) and (folder + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, right.split()[0]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _unescaped(path: str) -> str:
    """Blanks, tabs, newlines and backslashes are written as three octal digits there."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)

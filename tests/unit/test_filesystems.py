"""What kind of file system a folder lies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh_actors import filesystems

MOUNTS = r"""
22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:5 / /home rw,relatime shared:1 - nfs4 server:/home rw
24 23 0:6 / /home/local\040disk rw - xfs /dev/sdb rw
25 22 0:7 / /mnt/windows rw - cifs //pc/c rw
26 22 0:8 / /mnt/remote rw - fuse.sshfs alice@host: rw
27 22 0:9 / /mnt/fuse rw - fuse.mergerfs all rw
28 22 0:10 / /home/over rw - tmpfs tmpfs rw
""".strip().splitlines()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", None),
        ("/", None),
        ("/homes", None),
        ("/home", "nfs4"),
        ("/home/alice/state", "nfs4"),
        ("/home/local disk/state", None),
        ("/home/over", None),
        ("/mnt/windows/x", "cifs"),
        ("/mnt/remote", "fuse.sshfs"),
        ("/mnt/fuse", None),
    ],
)
def test_network_file_systems_are_known_by_the_innermost_mount(folder: str, kind: str | None) -> None:
    assert filesystems._kind_of_mount(folder, MOUNTS) == kind


def test_a_local_folder_is_none_of_them(tmp_path: Path) -> None:
    assert filesystems.network_file_system(tmp_path) is None

"""A real Cobbler for tests: an unmodified cobblerd of its own, on a free port of loopback.

Its packages lie in a folder of their own (`make test` installs `requirements-cobbler.lock` there), so they never meet
the project's. cobblerd has absolute paths: it runs in a mount namespace in which /etc and /var are overlays, and its
own folders are under `root`. Nothing else is written.

As a script it serves until Ctrl-C: ``python tests/cobbler_server.py FOLDER``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import require

USER, PASSWORD = "cobbler", "s3cret-of-cobbler"
READY_S = 40.0

#: Profiles that it has from the beginning, all of one distribution.
DISTRO, PROFILES = "ubuntu22", ("hpc", "web")

#: Where `make test` puts its packages.
PACKAGES = Path(sys.prefix) / "cobbler"

#: Runs cobblerd with its own packages before all others, which its fence agents do not inherit.
START = """
import runpy, sys
packages = sys.argv.pop(1)
sys.path.insert(0, packages)
runpy.run_path(f"{packages}/bin/cobblerd", run_name="__main__")
"""

NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]

MOUNTS = """
set -eu
root=$1; shift
mount --make-rprivate /
for each in etc var; do
  mkdir -p "$root/overlay/$each" "$root/overlay/$each.work"
  mount -t overlay overlay -o "lowerdir=/$each,upperdir=$root/overlay/$each,workdir=$root/overlay/$each.work" "/$each"
done
for each in etc/cobbler var/lib/cobbler var/log/cobbler; do
  mkdir -p "/$each"
  mount --bind "$root/$each" "/$each"
done
exec setpriv --pdeathsig TERM -- "$@"
"""


class CobblerServer:
    """A cobblerd that can be stopped and started again; what it was told stays.

    Args:
        settings: what differs from cobblerd's own settings.
    """

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root.resolve()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/RPC2"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Write all its files."""
        for part in ("etc/cobbler", "var/lib/cobbler"):
            shutil.copytree(PACKAGES / part, self.root / part)
        kinds = ("distro", "image", "profile", "repo", "system", "mgmtclasse", "package", "file", "menu")
        folders = [f"var/lib/cobbler/collections/{kind}s" for kind in kinds]
        folders += ["var/lib/cobbler/loaders", "var/lib/cobbler/triggers", "tftpboot", "www", "buildiso"]
        folders += [f"var/log/cobbler/{each}" for each in ("tasks", "anamon", "kicklog", "syslog")]
        for folder in folders:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self._write_settings()
        digest = hashlib.sha3_512(PASSWORD.encode()).hexdigest()
        (self.root / "etc/cobbler/users.digest").write_text(f"{USER}:Cobbler:{digest}\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            *NAMESPACE,
            "sh",
            "-c",
            MOUNTS,
            "sh",
            str(self.root),
            sys.executable,
            "-P",
            "-W",
            "ignore",
            "-c",
            START,
        ]
        command += [str(PACKAGES), "-F", "--disable-automigration"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        with (self.root / "out").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
            )
        end = time.monotonic() + READY_S
        while not self._answers():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Connections are accepted, and nobody answers, until it is stopped or resumes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        return (self.root / "out").read_text(errors="replace")[-3000:]

    def proxy(self) -> xmlrpc.client.ServerProxy:
        """A connection of the test's own, with which it plays the administrator and the installer."""
        return xmlrpc.client.ServerProxy(self.url, allow_none=True)

    def login(self) -> tuple[xmlrpc.client.ServerProxy, str]:
        proxy: Any = self.proxy()
        return proxy, str(proxy.login(USER, PASSWORD))

    def add_profiles(self) -> None:
        """Make the distribution and its profiles."""
        kernel, initrd = self.root / "vmlinuz-5.15", self.root / "initrd.img-5.15"
        kernel.write_bytes(b"a kernel")
        initrd.write_bytes(gzip.compress(b"its first file system"))
        self.add("distro", name=DISTRO, kernel=str(kernel), initrd=str(initrd), arch="x86_64", breed="ubuntu")
        for name in PROFILES:
            self.add("profile", name=name, distro=DISTRO)

    def add(self, kind: str, **values: Any) -> None:
        """Make an object with these attributes."""
        proxy, token = self.login()
        handle = proxy.new_item(kind, token)
        for name, value in values.items():
            assert proxy.modify_item(kind, handle, name, value, token) is True, name
        proxy.save_item(kind, handle, token)

    def add_node(self, name: str, profile: str = PROFILES[0], **values: Any) -> DummyNode:
        """A system whose BMC is a file, of the fence agent `dummy`."""
        node = DummyNode(self, name, self.root / f"power-{name}")
        node.power_file.write_text("on")
        interface = {"macaddress-eth0": node.mac, "ipaddress-eth0": node.ip}
        power = {"power_type": "dummy", "power_options": f"status_file={node.power_file}", "power_pass": "pass-of-bmc"}
        self.add("system", name=name, profile=profile, **power, **values, modify_interface=interface)
        return node

    def is_netboot(self, name: str) -> bool:
        found: Any = self.proxy().get_system(name)
        return bool(found["netboot_enabled"])

    def _answers(self) -> bool:
        try:
            return bool(self.proxy().ping())
        except OSError:
            return False

    def _write_settings(self) -> None:
        file = self.root / "etc/cobbler/settings.yaml"
        wanted = {
            "xmlrpc_port": self.port,
            "server": "127.0.0.1",
            "next_server_v4": "127.0.0.1",
            "tftpboot_location": f"{self.root}/tftpboot",
            "webdir": f"{self.root}/www",
            "buildisodir": f"{self.root}/buildiso",
            **self._settings,
        }
        text = file.read_text()
        for name, value in wanted.items():
            spelt = f'"{value}"' if isinstance(value, str) else str(value).lower()
            text, found = re.subn(rf"(?m)^{name}:.*$", f"{name}: {spelt}", text)
            assert found, name
        file.write_text(text)


class DummyNode:
    """A node whose power is a file; the test plays its installer."""

    def __init__(self, server: CobblerServer, name: str, power_file: Path) -> None:
        self.server, self.name, self.power_file = server, name, power_file
        digest = hashlib.sha256(name.encode()).digest()
        self.mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])
        self.ip = ".".join(["10", *map(str, digest[3:6])])

    @property
    def power(self) -> str:
        return self.power_file.read_text().strip()

    def begin_installation(self) -> None:
        """What an installer does first."""
        proxy: Any = self.server.proxy()
        proxy.run_install_triggers("pre", "system", self.name, self.ip)

    def end_installation(self) -> None:
        """What an installer does last, more than a second after the beginning."""
        proxy: Any = self.server.proxy()
        proxy.disable_netboot(self.name)
        proxy.run_install_triggers("post", "system", self.name, self.ip)

    def install(self) -> None:
        self.begin_installation()
        time.sleep(1.1)
        self.end_installation()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_cobbler() -> None:
    """Skip the test where no Cobbler can be run; fail with CI=true."""
    for binary in ("unshare", "setpriv", "rsync", "fence_dummy", "fence_ipmilan"):
        require(binary)
    trouble = ""
    if not (PACKAGES / "bin" / "cobblerd").exists():
        trouble = f"cobblerd is not in {PACKAGES}; `make test` installs it"
    elif subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        trouble = "no mount namespace can be made here"
    if trouble and os.environ.get("CI") == "true":
        pytest.fail(trouble)
    elif trouble:
        pytest.skip(trouble)


@contextmanager
def cobbler(root: Path, **settings: Any) -> Iterator[CobblerServer]:
    """A running Cobbler with its profiles."""
    root.mkdir(parents=True, exist_ok=True)
    server = CobblerServer(root, **settings)
    server.prepare()
    try:
        server.start()
        server.add_profiles()
        yield server
    finally:
        server.stop()


def serve(root: Path, options: Mapping[str, Any]) -> None:
    with cobbler(root, **options) as server:
        print(f"{server.url}, user {USER}, password {PASSWORD}, profiles {', '.join(PROFILES)}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    serve(parser.parse_args().folder.resolve(), {})

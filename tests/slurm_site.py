"""A private Slurm on loopback, with PBS's commands from `slurm-wlm-torque`, behind a private sshd.

Debian packages: slurm-wlm, slurm-wlm-torque, munge, openssh-server. Its daemons run as whoever runs the tests, which
has to be root: `slurmd` starts jobs as their owners.
"""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sshd
from servers import require
from sshd import await_true

#: Who runs the tests, and the jobs.
USER = pwd.getpwuid(os.getuid()).pw_name

NODES = ("i1", "i2")
SLOTS = 8
QUEUES = ("batch", "long", "systest", "interactive")

CONFIGURATION = """
ClusterName=fg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
MinJobAge=3600
KillWait=2
PropagateResourceLimits=NONE
NodeName=i1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[0]} CPUs={slots} RealMemory=4000 Feature=xeon,ib
NodeName=i2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={slots} RealMemory=4000 Feature=xeon
NodeName=i3 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={slots} RealMemory=4000 State=DOWN Reason=broken
PartitionName=batch Nodes=i[1-3] Default=YES MaxTime=24:00:00 State=UP
PartitionName=long Nodes=i[1-2] MaxTime=7-00:00:00 State=UP
PartitionName=systest Nodes=i[1-2] State=INACTIVE
PartitionName=interactive Nodes=i[1-2] MaxTime=04:00:00 State=UP
"""


@dataclass
class SlurmSite:
    """A running Slurm: its commands, and the sshd in front of it."""

    folder: Path
    server: sshd.Sshd
    known_hosts: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "LC_ALL": "C", "TZ": "UTC0"}

    def run(self, *command: str, stdin: str = "") -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, cwd=self.folder, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout.strip()

    def sbatch(self, *options: str, script: str = "sleep 600") -> str:
        """Submit a job; its id."""
        return self.run("sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", script)

    def qsub(self, *options: str, script: str = "sleep 600") -> str:
        """Submit a job with PBS's command; its id."""
        file = self.folder / f"job-{secrets.token_hex(4)}.sh"
        file.write_text(f"#!/bin/sh\n{script}\n")
        return self.run("qsub", "-o", "/dev/null", "-e", "/dev/null", *options, str(file)).partition(".")[0]

    def job(self, number: str) -> dict[str, str]:
        """What scontrol tells of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def await_state(self, number: str, state: str) -> dict[str, str]:
        """Wait until scontrol says that a job is in a state."""
        await_true(lambda: self.job(number)["JobState"] == state, f"job {number} is not {state}")
        return self.job(number)

    def states(self) -> list[str]:
        """What the jobs do that have not ended: RUNNING, PENDING."""
        return self.run("squeue", "--noheader", "--states=RUNNING,PENDING", "--format=%T").split()

    def forget_jobs(self) -> None:
        """End all jobs, and let the server start afresh, knowing none."""
        self.cancel_all()
        _end(self.daemons["slurmctld"])
        _start_controller(self)
        await_true(lambda: _is_idle(self), "Slurm does not start again")

    def cancel_all(self) -> None:
        """End all jobs, and wait until their processes are gone."""
        self.run("scancel", "--full", "--signal=KILL", f"--user={os.getuid()}")
        self.run("scancel", f"--user={os.getuid()}")
        await_true(lambda: not self.run("squeue", "--noheader"), "jobs do not end")


@contextmanager
def running(folder: Path, *, zone: str = "UTC") -> Iterator[SlurmSite]:
    """A Slurm with two nodes that are up and one that is down, and its login host, while the block runs.

    `zone` is the login host's time zone.
    """
    for binary in ("munged", "slurmctld", "slurmd", "sbatch", "qstat", "qsub", "pbsnodes"):
        require(binary)
    if os.getuid() != 0:
        pytest.skip("Slurm's daemons start jobs as their owners, which takes root")
    _write(folder)
    options = f"SetEnv SLURM_CONF={folder}/slurm.conf TZ={zone} HOME={folder}\n"
    with ExitStack() as stack:
        server = stack.enter_context(sshd.running(folder, more=options))
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(server.known_hosts_line())
        site = SlurmSite(folder, server, known_hosts)
        stack.callback(_stop, site)
        _start(site)
        stack.callback(site.cancel_all)
        yield site


def _write(folder: Path) -> None:
    (folder / "state").mkdir(parents=True)
    for node in (*NODES, "i3"):
        (folder / f"spool-{node}").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(1024))
    (folder / "plugstack.conf").touch()
    host = socket.gethostname().partition(".")[0]
    port, *ports = (sshd.free_port() for _ in range(4))
    configuration = CONFIGURATION.format(folder=folder, host=host, port=port, ports=ports, slots=SLOTS)
    (folder / "slurm.conf").write_text(configuration)


def _start(site: SlurmSite) -> None:
    folder = site.folder
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.sock", f"--key-file={folder}/munge.key"]
    files = {"log-file": "munged.log", "pid-file": "munged.pid", "seed-file": "munged.seed"}
    _daemon(site, "munged", *munge, *(f"--{option}={folder}/{name}" for option, name in files.items()))
    await_true((folder / "munge.sock").exists, "munged does not start")
    _start_controller(site)
    for node in NODES:
        _daemon(site, node, "slurmd", "-D", "-N", node)
    await_true(lambda: _is_idle(site), "Slurm does not start")


def _start_controller(site: SlurmSite) -> None:
    """Without jobs: `-c` forgets what is in the state folder."""
    _daemon(site, "slurmctld", "slurmctld", "-D", "-c")


def _is_idle(site: SlurmSite) -> bool:
    command = ["sinfo", "--noheader", "--Node", "--partition=long", "--format=%T"]
    seen = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    return seen.returncode == 0 and seen.stdout.split() == ["idle"] * len(NODES)


def _daemon(site: SlurmSite, name: str, *command: str) -> None:
    with (site.folder / f"{name}.out").open("wb") as out:
        site.daemons[name] = subprocess.Popen(
            [require(command[0]), *command[1:]],
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def _stop(site: SlurmSite) -> None:
    """Stop the daemons, munged last: the others need it to stop."""
    for process in reversed(site.daemons.values()):
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

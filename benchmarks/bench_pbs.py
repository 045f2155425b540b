"""How fast, and in how much memory, qstat's output is read: 100,000 generated batch jobs, each peer in the same run.

``python benchmarks/bench_pbs.py [--jobs N] [--rounds N] [--aiida PYTHON]``

Every measurement is a process of its own, whose peak resident memory includes the output itself; the rounds are
interleaved, and medians are shown. Seconds are the processor's, so that what else a machine does counts less; all
readers have one thread. aiida-core's parser is an optional peer: make a virtual environment with
``pip install aiida-core`` and give its interpreter with ``--aiida`` or in the variable AIIDA_PYTHON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve()
SEED = 136
EPOCH = 1_795_350_692
QUEUES = ("batch", "long", "b534", "interactive", "delta", "delta-long", "echo", "bravo")


# --- the jobs ---------------------------------------------------------------------------------------------------------


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _ctime(epoch: int) -> str:
    return time.asctime(time.gmtime(epoch))


def _environment(user: str, queue: str, number: int) -> str:
    home = f"/home/{user}"
    return (
        f"PBS_O_QUEUE={queue},PBS_O_HOME={home},PBS_O_LOGNAME={user},PBS_O_LANG=en_US.UTF-8,"
        "PBS_O_PATH=/opt/openmpi/4.1/bin:/usr/lib64/qt-3.3/bin:/usr/local/bin:/bin:/usr/bin:/opt/torque/bin,"
        f"PBS_O_MAIL=/var/spool/mail/{user},PBS_O_SHELL=/bin/bash,PBS_O_HOST=login1.example.org,"
        f"PBS_O_SERVER=torque1,PBS_O_WORKDIR={home}/runs/{number % 997:03d},OMP_NUM_THREADS=8,SHLVL=1"
    )


def jobs(count: int, times: Callable[[int], str]) -> list[tuple[str, dict[str, str]]]:
    """Jobs as a Torque server has them, three in five running."""
    rng = random.Random(SEED)
    return [_job(number, rng, times) for number in range(count)]


def _job(number: int, rng: random.Random, times: Callable[[int], str]) -> tuple[str, dict[str, str]]:
    user, queue, ppn = f"user{rng.randrange(300):03d}", rng.choice(QUEUES), rng.choice((1, 2, 4, 8))
    state = rng.choices("RQHCW", (60, 25, 6, 6, 3))[0]
    began = EPOCH + number * 3
    job_id, name = f"{number}.torque1.example.org", f"{rng.choice(('sim', 'md', 'qe', 'post'))}_{rng.randrange(10_000)}"
    job = {"Job_Name": name, "Job_Owner": f"{user}@login1.example.org"}
    if state in "RC":
        job |= {
            "resources_used.cput": _clock(rng.randrange(90_000)),
            "resources_used.energy_used": "0",
            "resources_used.mem": f"{rng.randrange(4_000, 16_000_000)}kb",
            "resources_used.vmem": f"{rng.randrange(4_000, 32_000_000)}kb",
            "resources_used.walltime": _clock(rng.randrange(90_000)),
        }
    job |= {
        "job_state": state,
        "queue": queue,
        "server": "torque1.example.org",
        "Checkpoint": "u",
        "ctime": times(began),
    }
    job["Error_Path"] = f"login1.example.org:/home/{user}/runs/{name}.e{number}"
    if state in "RC":
        host = f"i{rng.randrange(1, 1000):03d}"
        job["exec_host"] = "+".join(f"{host}/{slot}" for slot in range(ppn))
    job |= {"Hold_Types": "n", "Join_Path": "oe", "Keep_Files": "n", "Mail_Points": "a", "mtime": times(began + 60)}
    job["Output_Path"] = f"login1.example.org:/home/{user}/runs/{name}.o{number}"
    job |= {"Priority": "0", "qtime": times(began), "Rerunable": "True", "Resource_List.mem": f"{ppn * 2}gb"}
    job |= {"Resource_List.nodect": "1", "Resource_List.nodes": f"1:ppn={ppn}"}
    job["Resource_List.walltime"] = rng.choice(("01:30:00", "04:00:00", "24:00:00", "72:00:00", "168:00:00"))
    if state in "RC":
        job["session_id"] = str(rng.randrange(1000, 32_768))
    job |= {"substate": "42" if state == "R" else "10", "Variable_List": _environment(user, queue, number)}
    job |= {"euser": user, "egroup": f"g{rng.randrange(40):02d}", "hashname": job_id, "queue_rank": str(number)}
    job |= {"queue_type": "E", "comment": f"Job started on {_ctime(began)[:10]} at {_ctime(began)[11:16]}"}
    job |= {"etime": times(began), "submit_args": f"-N {name} -q {queue} -l nodes=1:ppn={ppn} run.sh"}
    if state in "RC":
        job |= {"start_time": times(began + 30), "start_count": "1"}
    job |= {"fault_tolerant": "False", "job_radix": "0", "submit_host": "login1.example.org"}
    return job_id, job | {"init_work_dir": f"/home/{user}/runs/{number % 997:03d}", "request_version": "1"}


def write(path: Path, count: int) -> None:
    """The jobs in the dialect that the file's suffix names: XML has epoch times, text and JSON ctime's."""
    sys.path.insert(0, str(HERE.parent.parent / "tests"))
    import pbs_printers

    dialect = path.suffix[1:]
    path.write_text(getattr(pbs_printers, dialect)(jobs(count, str if dialect == "xml" else _ctime)))


# --- who reads them, each in a process of its own ---------------------------------------------------------------------


def ours(path: Path) -> int:
    """This library."""
    from cloudmesh_actors.pbs.qstat import parse_jobs

    return len(parse_jobs(path.read_bytes()))


def ours_all(path: Path) -> int:
    """This library, and every attribute of every job besides, which it reads on demand only."""
    from cloudmesh_actors.pbs.qstat import parse_jobs

    return len([job.attributes.plain() for job in parse_jobs(path.read_bytes())])


def minidom(path: Path) -> int:
    """What scripts around Torque mostly do: every element of a job into a dict."""
    from xml.dom.minidom import Element, parseString

    def value(element: Element) -> str | dict[str, str]:
        children = [child for child in element.childNodes if child.nodeType == child.ELEMENT_NODE]
        if children:
            return {child.tagName: value(child) for child in children}
        return "".join(child.data for child in element.childNodes)

    document = parseString(path.read_bytes())
    return len([value(job) for job in document.getElementsByTagName("Job")])


def json_loads(path: Path) -> int:
    """The standard library's JSON alone: nothing is made of what it reads."""
    return len(json.loads(path.read_bytes())["Jobs"])


def aiida(path: Path) -> int:
    """aiida-core's parser of `qstat -f`, used as its TorquePBS scheduler does."""
    from aiida.schedulers.plugins.torque import TorqueScheduler

    return len(TorqueScheduler()._parse_joblist_output(0, path.read_text(), ""))


READERS = {reader.__name__: reader for reader in (ours, ours_all, minidom, json_loads, aiida)}


def measure_here(reader: str, path: Path) -> None:
    """Prints jobs, seconds and peak MB of one reading."""
    began = time.process_time()
    count = READERS[reader](path)
    seconds = time.process_time() - began
    print(json.dumps([count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def measure(reader: str, path: Path, python: str) -> tuple[int, float, float]:
    with tempfile.TemporaryDirectory() as scratch:
        command = [python, str(HERE), "--reader", reader, "--path", str(path)]
        environment = os.environ | {"AIIDA_PATH": scratch}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    count, seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return count, seconds, megabytes


# --- the table --------------------------------------------------------------------------------------------------------


def compare(dialect: str, path: Path, peers: dict[str, str], rounds: int) -> None:
    """One dialect: ours and its peers in turn, medians, and how ours compares."""
    results: dict[str, list[tuple[int, float, float]]] = {reader: [] for reader in ("ours", "ours_all", *peers)}
    for number in range(rounds):
        for reader, runs in results.items():
            if reader == "minidom" and number >= max(2, rounds // 2):
                continue  # it takes half a minute
            runs.append(measure(reader, path, peers.get(reader, sys.executable)))
    rates = {reader: median(count / seconds for count, seconds, _ in runs) for reader, runs in results.items()}
    peaks = {reader: median(megabytes for _, _, megabytes in runs) for reader, runs in results.items()}
    print(f"{dialect} ({path.stat().st_size / 1e6:.0f} MB)")
    for reader, runs in results.items():
        line = f"  {reader:<11}{rates[reader]:>9,.0f} jobs/s {peaks[reader]:>7,.0f} MB peak   {len(runs)} runs"
        if reader in peers:
            speed, memory = rates["ours"] / rates[reader], peaks["ours"] / peaks[reader]
            line += f"   ours: {speed:.2f} x the speed, {memory:.2f} x the memory"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--aiida", default=os.environ.get("AIIDA_PYTHON", ""), help="an interpreter that has aiida-core"
    )
    parser.add_argument("--only", choices=["xml", "text", "json"])
    parser.add_argument("--reader", choices=list(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        measure_here(options.reader, options.path)
        return
    if options.path:
        write(options.path, options.jobs)
        return
    peers = {"xml": {"minidom": sys.executable}, "json": {"json_loads": sys.executable}, "text": {}}
    if options.aiida:
        peers["text"] = {"aiida": options.aiida}
    with tempfile.TemporaryDirectory() as folder:
        for dialect in [options.only] if options.only else peers:
            path = Path(folder) / f"jobs.{dialect}"
            subprocess.run([sys.executable, str(HERE), "--path", str(path), "--jobs", str(options.jobs)], check=True)
            compare(dialect, path, peers[dialect], options.rounds)
            path.unlink()
    if not options.aiida:
        print("text was not compared with aiida-core: --aiida names no interpreter")


if __name__ == "__main__":
    main()

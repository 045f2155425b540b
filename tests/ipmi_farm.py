"""Real BMCs for tests: one `ipmi_sim` process each (Debian package `openipmi`), on loopback addresses of their own.

As a script it serves a number of BMCs until Ctrl-C: ``python tests/ipmi_farm.py FOLDER COUNT --first 127.1.0.1``.
"""

from __future__ import annotations

import argparse
import ipaddress
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "admin", "s3cret"
#: More sessions than this an `ipmi_sim` does not give.
SESSIONS = 63

#: An ASF presence ping, which every BMC answers without a session.
PING = bytes.fromhex("0600ff06000011be80000000")
READY_S = 10.0


#: Addresses on the IPMB: of the BMC, of a controller behind it, and of one that its sensors name but is not there.
BMC, BEHIND, ABSENT = 0x20, 0x2C, 0x2E


@dataclass(frozen=True)
class Sensor:
    """One analog sensor: the value is ``raw * m * 10**r_exponent`` in `unit`, raw being a byte of `number_format`."""

    number: int
    name: str
    kind: int
    unit: str
    raw: int
    entity: str = "system_board"
    instance: int = 1
    m: int = 1
    r_exponent: int = 0
    number_format: str = "unsigned"
    #: Raw limits: upper non-recoverable, critical, non-critical, lower non-recoverable, critical, non-critical.
    limits: Sequence[int | None] = (None,) * 6
    scanning: bool = True
    #: The controller that owns the sensor, on the IPMB; the BMC is 0x20.
    owner: int = BMC


TEMPERATURE, VOLTAGE, CURRENT, FAN = 1, 2, 3, 4
HOT = (0xA0, 0x90, 0x70, None, None, None)
SLOW = (None, None, None, 5, 8, 10)

#: Names of capitals, digits and blanks are packed by sdrcomp (six bits a character), numbers too (BCD plus).
SENSORS = (
    *(Sensor(n, f"CPU{n} Temp", TEMPERATURE, "degrees_C", 30 + n, "processor", n, limits=HOT) for n in range(1, 9)),
    *(Sensor(8 + n, f"FAN {n}", FAN, "RPM", 40 + n, "fan_cooling_device", n, m=100, limits=SLOW) for n in range(1, 9)),
    Sensor(17, "v12V rail", VOLTAGE, "Volts", 120, r_exponent=-1, limits=(135, 132, 126, 105, 108, 114)),
    Sensor(18, "v5V rail", VOLTAGE, "Volts", 50, r_exponent=-1),
    Sensor(19, "v3.3V rail", VOLTAGE, "Volts", 33, r_exponent=-1),
    Sensor(20, "12V", VOLTAGE, "Volts", 121, r_exponent=-1),
    Sensor(21, "PSU1 Power", CURRENT, "Watts", 90, "power_supply", 1, m=2),
    Sensor(22, "PSU2 Power", CURRENT, "Watts", 92, "power_supply", 2, m=2),
)

#: More that is met in the field: values below zero, no reading, a current, numbers for names, equal names, a sensor of
#: a controller behind the BMC.
ODD_SENSORS = (
    *SENSORS,
    Sensor(23, "Margin", TEMPERATURE, "degrees_C", 0xF6, number_format="2s_complement"),
    Sensor(24, "DIMM Temp", TEMPERATURE, "degrees_C", 40, scanning=False),
    Sensor(25, "PSU1 Current", CURRENT, "Amps", 15, "power_supply", 1, r_exponent=-1),
    Sensor(26, "12.5-3", VOLTAGE, "Volts", 125, r_exponent=-1),
    Sensor(27, "T", TEMPERATURE, "degrees_C", 20),
    Sensor(28, "AB", TEMPERATURE, "degrees_C", 21),
    Sensor(29, "Same", TEMPERATURE, "degrees_C", 22),
    Sensor(30, "Same", TEMPERATURE, "degrees_C", 23),
    Sensor(31, "ME Temp", TEMPERATURE, "degrees_C", 44, limits=HOT, owner=BEHIND),
)

CONTROLLER_RECORD = """
sdr type 18
\tdevice_slave_address\t0x20
\tdevice_channel_number\t0
\tchassis\ttrue
\tfru_inventory\ttrue
\tsel\ttrue
\tsdr\ttrue
\tsensor\ttrue
\tentity_id\tsystem_board
\tentity_instance\t1
\tid_string\t"node bmc"
endsdr
"""
SENSOR_RECORD = """
sdr type 1
\tsensor_owner_id\t{sensor.owner:#04x}
\tsensor_owner_lun\t0
\tchannel_number\t0
\tsensor_number\t{sensor.number}
\tentity_id\t{sensor.entity}
\tentity_instance\t{sensor.instance}
\tinit_scanning\ttrue
\tinit_sensor_type\ttrue
\tdefault_sensor_scan_on\ttrue
{access}\tsensor_type\t{sensor.kind}
\tevent_reading_type_code\t1
\tanalog_data_format\t{sensor.number_format}
\trate_unit\tnone
\tmodifier_unit\tnone
\tpercentage\tfalse
\tbase_unit\t{sensor.unit}
\tmodifier_unit_code\tunspecified
\tlinearization\tlinear
\tm\t{sensor.m}
\ttolerance\t0
\tb\t0
\taccuracy\t1
\taccuracy_exp\t0
\tsensor_direction\tinput
\tr_exp\t{sensor.r_exponent}
\tb_exp\t0
\tsensor_maximum\t255
\tsensor_minimum\t0
\tid_string\t"{sensor.name}"
endsdr
"""
DISCRETE_RECORD = """
sdr type 2
\tsensor_owner_id\t0x20
\tsensor_owner_lun\t0
\tchannel_number\t0
\tsensor_number\t99
\tentity_id\tpower_supply
\tentity_instance\t1
\tinit_scanning\ttrue
\tinit_sensor_type\ttrue
\tdefault_sensor_scan_on\ttrue
\tsensor_type\t8
\tevent_reading_type_code\t0x6f
\tid_string\t"PSU1 Status"
endsdr
"""
LAN = """name "bmc"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{chassis} {folder}"
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "{USER}" "{PASSWORD}" admin 10 none md2 md5 straight
"""
#: What the BMC runs for its chassis: the power is a file, and each command is kept.
CHASSIS = """#!/bin/sh
dir=$1; op=$2; shift 2
case $op in
get) for p in "$@"; do case $p in
       power) echo "power:$(cat "$dir/power")";;
       boot) echo "boot:$(cat "$dir/boot" 2>/dev/null || echo default)";;
       *) echo "Invalid parameter: $p"; exit 1;; esac; done;;
set) while [ $# -gt 0 ]; do echo "$1 $2" >> "$dir/commands"
       case $1 in
       power) [ -e "$dir/stuck" ] || echo "$2" > "$dir/power";;
       shutdown) [ -e "$dir/stuck" ] || echo 0 > "$dir/power";;
       boot) echo "$2" > "$dir/boot";;
       esac; shift 2; done;;
esac
"""


@dataclass
class RealBmc:
    """A running `ipmi_sim`: where it listens, and the node behind it as files."""

    folder: Path
    address: str
    port: int
    sensors: Sequence[Sensor]
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_on(self) -> bool:
        return (self.folder / "power").read_text().strip() == "1"

    def set_power(self, on: bool) -> None:
        (self.folder / "power").write_text("1" if on else "0")

    def stick(self) -> None:
        """From now on the node takes power commands and does not follow."""
        (self.folder / "stuck").touch()

    @property
    def commands(self) -> list[str]:
        """What the chassis was told, oldest first: "power 0", "power 1", "shutdown 1"."""
        file = self.folder / "commands"
        return file.read_text().splitlines() if file.exists() else []

    def set_cpu1(self, degrees: int) -> None:
        """Heat up "CPU1 Temp"; the BMC looks 20 times a second."""
        (self.folder / "cpu1").write_text(str(degrees))

    def start(self) -> None:
        command = ["ipmi_sim", "-c", "lan.conf", "-f", "node.emu", "-s", ".", "-n"]
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def hang(self) -> None:
        """Stop in mid-conversation: the port stays open and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + READY_S
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(0.05)
            while time.monotonic() < end:
                try:
                    channel.sendto(PING, (self.address, self.port))
                    channel.recv(100)
                except OSError:
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError(f"ipmi_sim did not start: {(self.folder / 'out').read_text()}")

    def tool(self, *arguments: str) -> str:
        """What `ipmitool` says of this BMC. Suite 3, since it would ask for the suites, which takes 10 s here."""
        place = ["-I", "lanplus", "-C", "3", "-H", self.address, "-p", str(self.port), "-U", USER, "-P", PASSWORD]
        return subprocess.run(["ipmitool", *place, *arguments], check=True, capture_output=True).stdout.decode(
            "latin-1"
        )


def free_address() -> tuple[str, int]:
    """A loopback address with a UDP port that nobody uses; another test run will hardly draw the same."""
    for _ in range(100):
        address = f"127.{random.randint(64, 191)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue
            return address, int(probe.getsockname()[1])
    raise AssertionError("no free loopback address")


def compile_records(folder: Path, sensors: Iterable[Sensor]) -> bytes:
    """The repository of a BMC with these sensors, as `ipmi_sim` keeps it."""
    source, compiled = folder / "node.sdrs", folder / "node.bsdr"
    source.write_text(
        CONTROLLER_RECORD
        + "".join(SENSOR_RECORD.format(sensor=sensor, access=_access(sensor)) for sensor in sensors)
        + DISCRETE_RECORD
    )
    subprocess.run(["sdrcomp", "-o", compiled, source], check=True)
    return compiled.read_bytes()


def write_bmc(
    folder: Path, address: str, port: int, records: bytes, sensors: Sequence[Sensor], *, firmware: str = "9 8"
) -> RealBmc:
    """Write all files of one BMC; `folder` is made."""
    kept = folder / "ipmi_sim" / "bmc"
    kept.mkdir(parents=True)
    (kept / "sdr.20.main").write_bytes(records)
    chassis = folder / "chassis"
    chassis.write_text(CHASSIS)
    chassis.chmod(0o700)
    (folder / "power").write_text("1")
    (folder / "cpu1").write_text(str(sensors[0].raw))
    (folder / "lan.conf").write_text(
        LAN.format(address=address, port=port, chassis=chassis, folder=folder, USER=USER, PASSWORD=PASSWORD)
    )
    commands = [
        "mc_setbmc 0x20",
        f"mc_add 0x20 0 no-device-sdrs 0x23 {firmware} 0x9f 0x1291 0xf02 persist_sdr",
        "sel_enable 0x20 1000 0x0a",
        f"mc_add {BEHIND:#04x} 1 no-device-sdrs 0x23 1 0 0x01 0x157 0xf02",
        *(line for sensor in sensors for line in _sensor_commands(sensor, folder)),
        "sensor_add 0x20 0 99 8 0x6f",
        "mc_enable 0x20",
        f"mc_enable {BEHIND:#04x}",
    ]
    (folder / "node.emu").write_text("\n".join(commands) + "\n")
    return RealBmc(folder, address, port, sensors)


def _access(sensor: Sensor) -> str:
    if not any(sensor.limits):
        return ""
    names = ("unr", "uc", "unc", "lnr", "lc", "lnc")
    readable = "".join(
        f"\t{name}_thrsh_readable\ttrue\n"
        for name, limit in zip(names, sensor.limits, strict=True)
        if limit is not None
    )
    return f"\tsensor_threshold_access\treadable\n{readable}"


def _sensor_commands(sensor: Sensor, folder: Path) -> list[str]:
    if sensor.owner == ABSENT:
        return []
    number, place = sensor.number, f"{sensor.owner:#04x} 0 {sensor.number}"
    polled = f' poll 50 file "{folder}/cpu1"' if number == 1 else ""
    enabled = "".join("0" if limit is None else "1" for limit in sensor.limits)
    values = " ".join(f"{limit or 0:#04x}" for limit in sensor.limits)
    scanning = "scanning" if sensor.scanning else "no-scanning"
    return [
        f"sensor_add {place} {sensor.kind} 0x01{polled}",
        f"sensor_set_value {place} {sensor.raw} 0",
        f"sensor_set_threshold {place} readable {enabled} {values}",
        f"sensor_set_event_support {place} enable {scanning} per-state " + " ".join(["000111111000000"] * 4),
    ]


@contextmanager
def farm(folder: Path, count: int, sensors: Sequence[Sensor] = SENSORS, **options: str) -> Iterator[list[RealBmc]]:
    """Run so many BMCs, each at an address of its own; all have the same repository."""
    folder.mkdir(parents=True, exist_ok=True)
    records = compile_records(folder, sensors)
    bmcs = [write_bmc(folder / f"bmc{n}", *free_address(), records, sensors, **options) for n in range(count)]
    with running(bmcs):
        yield bmcs


@contextmanager
def running(bmcs: Sequence[RealBmc]) -> Iterator[None]:
    """Start these BMCs, and stop them in the end."""
    with ExitStack() as stack:
        for bmc in bmcs:
            stack.callback(bmc.stop)
            bmc.start()
        for bmc in bmcs:
            bmc.wait_until_ready()
        yield


def serve(folder: Path, count: int, first: str, port: int) -> None:
    """Serve BMCs at consecutive addresses until a signal comes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    records = compile_records(folder, SENSORS)
    addresses = (str(ipaddress.ip_address(first) + n) for n in range(count))
    bmcs = [write_bmc(folder / f"bmc{n}", a, port, records, SENSORS) for n, a in enumerate(addresses)]
    with running(bmcs):
        print(f"{count} BMCs from {first}, port {port}, user {USER}, password {PASSWORD}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", default="127.1.0.1")
    parser.add_argument("--port", type=int, default=623)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    serve(options.folder.resolve(), options.count, options.first, options.port)

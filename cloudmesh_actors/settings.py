"""The settings: environment variables that begin with ``CLOUDMESH_``, each checked; one sentence if wrong.

``docs/settings.md`` has them all in one table.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from cloudmesh_actors import secret, urls
from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.families import FAMILIES, WorkerSpec, parse_counts, parse_limits, worker_name

PREFIX = "CLOUDMESH_"

DEFAULT_THREADS = "8"
DEFAULT_PREFETCH = "128 launcher=8 provisioner=8 rack=8"
DEFAULT_TIME_LIMITS = "600 launcher=1500 provisioner=1500"
DEFAULT_RETRIES = "3"
DEFAULT_MESSAGE_BYTES = 1_000_000


def _absolute(path: Path) -> Path:
    """Without "..", with links as they are, and with "~" as it is where there is no home directory."""
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - pathlib's differ in just these


def _url_of(schemes: tuple[str, ...]) -> AfterValidator:
    def check(url: str) -> str:
        if url:
            secret.remember_url(url)
            urls.check(url, schemes)
        return url

    return AfterValidator(check)


def _workers(text: str) -> str:
    parse_counts(text)
    return text


def _limits(lowest: int) -> AfterValidator:
    def check(text: str) -> str:
        parse_limits(text, text, lowest)
        return text

    return AfterValidator(check)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Settings(BaseSettings):
    """All settings of a process. Paths are absolute, times in seconds; passwords do not show in the repr."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    site: AbsolutePath | None = Field(default=None, description="The site file. Without one, a simulated site is used.")
    broker_url: Annotated[str, _url_of(urls.BROKER_SCHEMES)] = Field(
        default="",
        description="redis, rediss, unix, amqp or amqps. Without one, the embedded Valkey is used.",
    )
    broker_password_file: AbsolutePath | None = Field(
        default=None, description="A file with the broker's password, which only its owner may read."
    )
    store_url: Annotated[str, _url_of(urls.STORE_SCHEMES)] = Field(
        default="", description="sqlite:////PATH or postgresql://. Without one, SQLite in STATE_DIR/store.db is used."
    )
    store_password_file: AbsolutePath | None = Field(
        default=None, description="A file with the store's password, which only its owner may read."
    )
    log_dir: AbsolutePath = Field(default=Path("logs"), description="The directory of the workers' logs and pid files.")
    state_dir: AbsolutePath = Field(
        default_factory=lambda known: known["log_dir"] / "state",
        description="The directory of the embedded broker's and store's data.",
    )
    runtime_root: AbsolutePath = Field(
        default=Path("/tmp"),  # noqa: S108 - the directory made in it is private, and its owner is checked
        description="Where the private directory for sockets is made: a short path, kept after a logout.",
    )
    web_host: str = Field(default="127.0.0.1", min_length=1, description="The address the web console listens on.")
    web_port: int = Field(default=5000, ge=1, le=65_535, description="The port the web console listens on.")
    web_token_file: AbsolutePath | None = Field(
        default=None,
        description="A file with the console's token, which only its owner may read. "
        "Needed when others can reach WEB_HOST.",
    )
    web_allowed_hosts: str = Field(
        default="", description="Names, beside this host's, under which browsers may ask for the console."
    )
    web_read_only: bool = Field(default=False, description="Whether the console shows everything and changes nothing.")
    quorum_queues: bool = Field(default=False, description="Whether queues on RabbitMQ are replicated quorum queues.")

    message_max_bytes: ByteSize = Field(
        default=ByteSize(DEFAULT_MESSAGE_BYTES),
        ge=10_000,
        description="The longest message (`1MB`): a longer one is not sent, and set aside when it comes.",
    )
    signing_key_file: AbsolutePath | None = Field(
        default=None, description="A file with the key that signs messages; with it, unsigned ones are set aside."
    )
    signing_old_key_file: AbsolutePath | None = Field(
        default=None, description="A file with the key from before, whose messages are still accepted."
    )

    workers: Annotated[str, AfterValidator(_workers)] = Field(
        default="launcher=2 provisioner=2 pbs=1 rain=1 rack=1",
        description="Workers of each family; a family that is left out has none.",
    )
    threads: Annotated[str, _limits(1)] = Field(
        default=DEFAULT_THREADS,
        description="Threads of a worker: for all families, or also for one (`8 rack=4`).",
    )
    prefetch: Annotated[str, _limits(1)] = Field(
        default=DEFAULT_PREFETCH,
        description="Messages a worker may hold at once; few where tasks are long, so that idle workers get some.",
    )
    time_limits: Annotated[str, _limits(1)] = Field(
        default=DEFAULT_TIME_LIMITS,
        description="Seconds a run may take before it is stopped. Below 1800, after which RabbitMQ gives up.",
    )
    retries: Annotated[str, _limits(0)] = Field(
        default=DEFAULT_RETRIES,
        description="How often a failed run is tried again. What changes hardware never is.",
    )
    retry_backoff: Seconds = Field(
        default=1.0, description="Seconds before the first retry; each further wait is twice as long."
    )
    retry_backoff_max: Seconds = Field(default=300.0, description="The longest wait before a retry, in seconds.")
    grace: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds in which running tasks may finish at shutdown.",
    )

    fanout: int = Field(default=64, ge=1, le=1024, description="Nodes that one job works on at once.")
    bmc_deadline: Seconds = Field(default=20.0, description="Seconds one whole conversation with a BMC may take.")
    batch_deadline: Seconds = Field(
        default=60.0, description="Seconds one command on a batch server's login host may take."
    )
    cobbler_deadline: Seconds = Field(
        default=30.0, description="Seconds a Cobbler may take for one answer; longer where it asks a BMC."
    )
    deploy_start_deadline: Seconds = Field(
        default=900.0, description="Seconds from power-on until a node's installer has to have begun."
    )
    deploy_install_deadline: Seconds = Field(
        default=5400.0, description="Seconds that the installation of a node may take."
    )
    provision_prepare_deadline: Seconds = Field(
        default=600.0, description="Seconds in which an image has to be made ready for a node."
    )
    provision_boot_deadline: Seconds = Field(
        default=5400.0, description="Seconds in which a node has to be switched off and on, and installed."
    )
    provision_answer_deadline: Seconds = Field(
        default=900.0, description="Seconds in which a node that was installed has to answer."
    )
    provision_delay: float = Field(
        default=20.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds that a simulated provisioning usually takes.",
    )
    provision_failures: float = Field(
        default=0.0, ge=0, le=1, description="How many simulated provisionings fail: 0 for none, 1 for all."
    )
    provision_seed: int = Field(
        default=0, ge=0, le=2**31, description="From what the delays and failures of simulated ones are drawn."
    )
    power_deadline: Seconds = Field(
        default=60.0, description="Seconds until a node has to be seen in the power state asked for."
    )
    power_on_group: int = Field(
        default=16, ge=0, le=100_000, description="Nodes that are powered on at once; 0 for all."
    )
    power_on_interval: float = Field(
        default=1.0, ge=0, le=3600, allow_inf_nan=False, description="Seconds from one such group to the next."
    )
    confirm_above: int = Field(
        default=8, ge=0, description="Changing more nodes than this wants their number typed, or `--yes`."
    )
    lease_ttl: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] = Field(
        default=60.0, description="Seconds after which the lease of a job whose worker died can be taken by another."
    )
    launch_delay: float = Field(
        default=3.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds that a script takes on a simulated server.",
    )
    launch_failures: float = Field(
        default=0.0, ge=0, le=1, description="How many scripts fail on simulated servers: 0 for none, 1 for all."
    )
    sensors_interval: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds between readings of all BMCs; 0 for never.",
    )
    sensor_keep_days: int = Field(default=365, ge=1, le=36_500, description="Days the history of sensors is kept.")
    pbs_interval: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds between snapshots of all batch servers; 0 for never.",
    )
    batch_keep_days: int = Field(
        default=365, ge=1, le=36_500, description="Days the counts of batch jobs are kept for plots."
    )
    job_keep_days: int = Field(default=90, ge=1, le=36_500, description="Days an ended job is kept.")
    job_keep_count: int = Field(default=200_000, ge=1, description="Ended jobs that are kept at most.")

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        default="INFO", description="The least level that is logged: DEBUG, INFO, WARNING or ERROR."
    )
    log_max_bytes: ByteSize = Field(
        default=ByteSize(50_000_000), ge=10_000, description="The size at which a log is rotated (`50MB`)."
    )
    log_backups: int = Field(default=5, ge=0, le=1000, description="Rotated files that are kept of each log.")

    @model_validator(mode="after")
    def _passwords_have_one_place(self) -> Settings:
        for url_name, file_name in (
            ("broker_url", "broker_password_file"),
            ("store_url", "store_password_file"),
        ):
            url, file = getattr(self, url_name), getattr(self, file_name)
            if file and not url:
                raise ValueError(f"{variable(file_name)} is set, but {variable(url_name)} is not")
            if file and urls.takes_no_password(url):
                raise ValueError(f"{variable(file_name)} is set, but {variable(url_name)} has no use for a password")
            if file and urls.has_password(url):
                raise ValueError(
                    f"{variable(url_name)} holds a password, and {variable(file_name)} is set too; keep one"
                )
        return self

    @model_validator(mode="after")
    def _an_old_key_has_a_successor(self) -> Settings:
        if self.signing_old_key_file and not self.signing_key_file:
            raise ValueError(f"{variable('signing_old_key_file')} is set, but {variable('signing_key_file')} is not")
        return self

    @property
    def worker_plan(self) -> tuple[WorkerSpec, ...]:
        """The fleet's workers, in the order of the families."""
        counts = parse_counts(self.workers)
        return tuple(
            WorkerSpec(worker_name(family, number), family)
            for family in FAMILIES
            for number in range(1, counts[family] + 1)
        )

    def threads_for(self, family: str) -> int:
        """How many threads a worker of this family has."""
        return parse_limits(self.threads, DEFAULT_THREADS, 1)[family]

    def prefetch_for(self, family: str) -> int:
        """How many messages a worker of this family may hold at once."""
        return parse_limits(self.prefetch, DEFAULT_PREFETCH, 1)[family]

    def time_limit_for(self, family: str) -> int:
        """How many seconds a run of this family may take."""
        return parse_limits(self.time_limits, DEFAULT_TIME_LIMITS, 1)[family]

    def retries_for(self, family: str) -> int:
        """How often a failed run of this family is tried again."""
        return parse_limits(self.retries, DEFAULT_RETRIES, 0)[family]

    @property
    def runtime_dir(self) -> Path:
        """The private directory for this fleet's sockets: short, and the same for each spelling of STATE_DIR.

        Not below XDG_RUNTIME_DIR: that is removed at logout, which a fleet outlives.
        """
        digest = hashlib.sha256(os.fsencode(os.path.realpath(self.state_dir))).hexdigest()[:12]
        return self.runtime_root / f"cm-{os.getuid()}-{digest}"

    def make_runtime_dir(self) -> Path:
        """Make `runtime_dir` unless it is there; refuse one that is not private to this user."""
        path = self.runtime_dir
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            status = path.lstat()
        except OSError as error:
            raise SettingsError(f"{path}, the directory for sockets, cannot be made: {error.strerror}") from None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise SettingsError(f"{path}, the directory for sockets, is not private to this user; remove it")
        return path

    @property
    def resolved_broker_url(self) -> str:
        """The broker's URL with its password; the embedded Valkey's socket when none is set."""
        if not self.broker_url:
            return f"unix://{self.runtime_dir}/valkey.sock"
        return _with_password(self.broker_url, "broker_password_file", self.broker_password_file)

    @property
    def resolved_store_url(self) -> str:
        """The store's URL with its password; the SQLite file in STATE_DIR when none is set."""
        if not self.store_url:
            if "?" in str(self.state_dir):
                raise SettingsError(f"{variable('state_dir')} is {self.state_dir}, but SQLite's URL cannot hold a '?'")
            return f"sqlite:///{self.state_dir}/store.db"
        return _with_password(self.store_url, "store_password_file", self.store_password_file)

    @staticmethod
    def masked(url: str) -> str:
        """The URL with its password hidden, for people."""
        return secret.mask_url(url)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, secret.mask_url(value) if name in {"broker_url", "store_url"} else value


def variable(field: str) -> str:
    """The environment variable of a setting: ``CLOUDMESH_WEB_PORT`` for ``web_port``."""
    return f"{PREFIX}{field.upper()}"


@cache
def current() -> Settings:
    """This process's settings, read from the environment once. Raises SettingsError."""
    return read()


def reset() -> None:
    """Forget what `current` has read (tests)."""
    current.cache_clear()


def read() -> Settings:
    """The settings, read from the environment now. Raises SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        # a default that is derived from a wrong setting is not wrong itself
        wrong = [each for each in error.errors(include_url=False) if each["type"] != "default_factory_not_called"]
        raise SettingsError("; ".join(map(_sentence, wrong))) from None


def misspelt() -> tuple[str, ...]:
    """Variables in the environment that look like a setting's but are none, each with what may be meant."""
    import difflib

    known = [variable(name) for name in Settings.model_fields]
    strangers = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    near = ((name, difflib.get_close_matches(name, known, 1, 0.85)) for name in strangers)
    return tuple(f"{name} is no setting; did you mean {match[0]}?" for name, match in near if match)


def _sentence(detail: ErrorDetails) -> str:
    reason = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else _wish(detail["msg"])
    if not detail["loc"]:
        return reason
    name = variable(str(detail["loc"][0]))
    return f"{name} is {_shown(detail['input'])}: {reason}"


def _shown(value: object) -> str:
    text = secret.mask_url(str(value))
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _wish(message: str) -> str:
    return message.replace("Input should", "it should", 1)


def _with_password(url: str, file_name: str, file: Path | None) -> str:
    if file is None:
        return url
    try:
        return urls.with_password(url, secret.read_file(file))
    except ValueError as error:
        raise SettingsError(f"{variable(file_name)}: {error}") from None

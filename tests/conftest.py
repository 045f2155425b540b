"""What every test starts with: no settings from outside, and nothing remembered from another test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from cloudmesh_actors import secret, settings

# A slow machine is no failure, and two runs at once share no file.
hypothesis.settings.register_profile("here", deadline=None, database=None)
hypothesis.settings.load_profile("here")

# What a shell runs in the background is deaf to Ctrl-C, and so would be the processes that tests press it for.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["brokers"]


def _forget() -> None:
    for name in ("cloudmesh_actors.broker", "cloudmesh_actors.store"):
        if name in sys.modules:
            sys.modules[name].reset()
    if "cloudmesh_actors.runs" in sys.modules:  # a message that is sent belongs to the run that one is in
        sys.modules["cloudmesh_actors.runs"].leave()
    settings.reset()
    secret.forget()
    site = sys.modules.get("cloudmesh_actors.site")
    if site is not None:
        site.reset()
    if "structlog" in sys.modules:  # capture_logs leaves it configured
        sys.modules["structlog"].reset_defaults()


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without this a developer's own CLOUDMESH_ variables would decide what the tests see."""
    for name in [name for name in os.environ if name.startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)
    _forget()
    yield
    _forget()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What hostile texts leave in the captured output has to pass between the processes of pytest-xdist."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report

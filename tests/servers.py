"""The real servers that tests run against: present, skipped on a laptop, required in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

#: Where Debian keeps servers that are not on everybody's PATH.
MORE_PLACES = ("/usr/sbin", "/sbin", "/usr/lib/rabbitmq/bin", "/usr/lib/postgresql/15/bin")


def require(binary: str) -> Path:
    """The path of a server's binary. Without it the test is skipped; with CI=true in the environment it fails."""
    path = shutil.which(binary, path=os.pathsep.join((os.environ.get("PATH", ""), *MORE_PLACES)))
    if path is None:
        missing = f"{binary} is not installed; `make test` as root installs what the tests need"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(path)

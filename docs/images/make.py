"""Make the terminal picture of the README: ``.venv/bin/python docs/images/make.py``.

A private fleet is started on a small simulated site, real commands are run in a terminal of 80 columns, and what they
print becomes terminal.svg. The fleet is gone afterwards.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import sys
import tempfile
import termios
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent

WIDTH, HEIGHT = 80, 100

#: Two BMCs that are well, one that is hot, one that does not answer.
SITE = """
clusters: {india: {nodes: "i[001-004]"}}
bmcs: {"i[001-004]": {driver: simulator, seed: 1, faults: {"i002": hot, "i003": silent}}}
"""

#: What is shown. The last one is not.
COMMANDS = [
    "make workers-up",
    'cm-actors send rack.temperature "i[001-004]" --wait',
    "cm-actors send rack.power i004 cycle --wait",
    "cm-actors jobs",
    "cm-actors workers",
]
AFTERWARDS = "make workers-clean"

#: Rich's own, without its fonts from another server.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

_CONTROL = re.compile(r"(\x1b\[\??[0-9;]*[A-Za-ln-z]|\r|\n)")


def main() -> None:
    """Run the commands and write the picture."""
    folder = Path(tempfile.mkdtemp(prefix="cm-picture-"))
    environment = private_environment(folder)
    console = Console(record=True, width=WIDTH, file=(folder / "screen").open("w"), force_terminal=True)
    try:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(screen(run(command, environment))))
            console.print()
    finally:
        run(AFTERWARDS, environment)
        shutil.rmtree(folder)
    picture = console.export_svg(
        title="cloudmesh_actors", theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="terminal"
    )
    (HERE / "terminal.svg").write_text("".join(f"{line.rstrip()}\n" for line in picture.splitlines()))


def private_environment(folder: Path) -> dict[str, str]:
    """The environment of a fleet that nobody else sees."""
    (folder / "site.yaml").write_text(SITE)
    mine = {
        "CLOUDMESH_SITE": str(folder / "site.yaml"),
        "CLOUDMESH_LOG_DIR": str(folder / "logs"),
        "CLOUDMESH_SENSORS_INTERVAL": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "SETUP": "no",
        "VENV": str(BIN.parent),
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
        "LINES": str(HEIGHT),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDMESH_")}
    return {**inherited, **mine}


def run(command: str, environment: Mapping[str, str]) -> str:
    """What a command writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe("sh", ["sh", "-c", command], dict(environment))  # noqa: S606 - a shell, as in the picture
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    written = b""
    while piece := read(terminal):
        written += piece
    os.waitpid(pid, 0)
    os.close(terminal)
    return written.decode()


def read(terminal: int) -> bytes:
    """The next piece; empty at the end, which Linux tells by an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def screen(written: str) -> str:
    """What a terminal shows in the end: progress bars are drawn over."""
    lines, row = [""], 0
    for piece in _CONTROL.split(written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif up := re.fullmatch(r"\x1b\[([0-9]*)A", piece):
            row -= int(up[1] or 1)
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not _CONTROL.fullmatch(piece):
            lines[row] += piece
    return "\n".join(lines).rstrip("\n")


if __name__ == "__main__":
    main()

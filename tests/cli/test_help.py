"""Help on any terminal: however narrow it is, with colours or without; and errors that are read off tyro's boxes."""

import os
import re
import subprocess
import sys

import pytest

from helpers import command
from rungwise.cli.main import COMMANDS


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sample", "--help"], ["train", "--nonsense"]])
def test_help_ends_however_narrow_the_terminal(arguments):
    code = (
        "import os, sys\nfrom rungwise.cli.main import main\n"
        "for columns in [*range(41), '', 'x', -3, 10**9]:\n"
        "    os.environ['COLUMNS'] = str(columns)\n"
        "    try: main(sys.argv[1:])\n"
        "    except SystemExit as ended: print('ended', ended.code)\n"
        "    assert os.environ['COLUMNS'] == str(columns)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=100, check=True
    )
    status = 2 if "--nonsense" in arguments else 0
    assert done.stdout.count(f"ended {status}\n") == 45
    if status:
        assert set(done.stderr.splitlines()) == {
            "rungwise: error: Unrecognized options: --nonsense; see rungwise train --help"
        }
    else:
        assert done.stdout.count("usage: rungwise") == 45


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_fits_80_columns(arguments, monkeypatch):
    """The usage line is tyro's. No flag names two defaults."""
    monkeypatch.setenv("COLUMNS", "80")
    usage, *lines = command(*arguments, "--help").out.splitlines()
    assert usage.startswith("usage: rungwise")
    assert [line for line in lines if len(line) > 80] == []
    text = " ".join(" ".join(lines).replace("│", " ").split())
    assert not re.search(r"\(default: [^()]*\)\.? \(default", text)


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What `rungwise` writes on a terminal."""
    ours, theirs = pytest.importorskip("pty").openpty()
    without = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    started = [sys.executable, "-m", "rungwise", *arguments]
    with subprocess.Popen(started, stdin=theirs, stdout=theirs, stderr=theirs, env=without | environment) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                if not (some := os.read(ours, 65536)):
                    break
            except OSError:  # Linux: the other end is closed
                break
            found += some
        process.wait(60)
    os.close(ours)
    return found.decode()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_colours_of_help_can_be_turned_off(arguments):
    assert "\x1b[" in on_a_terminal(*arguments, TERM="xterm")
    for off in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        text = on_a_terminal(*arguments, **off)
        assert "usage: rungwise" in text and "\x1b" not in text
    assert "\x1b[" in on_a_terminal(*arguments, TERM="xterm", NO_COLOR="")  # as if it were not set


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_errors_say_the_same_on_a_terminal(term):
    for arguments in (
        ["train", "--nonsense"],
        ["train", "--steps", "1e3"],
        ["sample"],
        ["export", "x", "--format", "y"],
    ):
        assert on_a_terminal(*arguments, TERM=term).replace("\r\n", "\n") == command(*arguments).err

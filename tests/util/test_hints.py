"""Commands that messages print: each is taken as it was printed, split as a shell splits it, and run."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rungwise
from helpers import TINY, WORDS, command, ctrl_c, flags, listed, observed, tiny_run
from rungwise.cli.main import COMMANDS, DESCRIPTION, parse
from rungwise.config.settings import Settings
from rungwise.training import run as training
from rungwise.training import run_dir
from rungwise.training.trainer import Stopped
from rungwise.util import hints

SOURCE = Path(rungwise.__file__).parent
TEXT = "\n".join(WORDS)
ODD = ["my runs/a b", "it's", "a;b&c", "$HOME", "-dash", 'x"y', "[*]?", "näme", "tab\there", "#1", "~", "%s{0}"]


def run(printed: str, **how):
    """Run a printed command here."""
    program, *arguments = shlex.split(printed)
    assert program == "rungwise", printed
    return command(*arguments, **how)


def after(marker: str, text: str) -> str:
    """The command that stands behind a marker, to the end of its line."""
    found = re.search(f"{re.escape(marker)}(rungwise .*)", text)
    assert found, text
    return found[1]


@pytest.fixture
def stopped_at():
    """Training that gets a Ctrl-C at its first block of steps."""

    def once(*arguments, **how):
        with observed(ctrl_c()):
            return command(*arguments, *flags(**{**TINY, "steps": 40, "eval_every": 2}), **how)

    return once


@pytest.mark.parametrize("name", ODD)
def test_a_stopped_run_goes_on_and_writes_words_as_it_says(tmp_path, monkeypatch, stopped_at, name):
    monkeypatch.chdir(tmp_path)
    Path("a list.txt").write_text(TEXT)
    done = stopped_at("train", "--data", "a list.txt", f"--out={name}")
    assert done.status == 130, done
    went_on = run(after("Go on: ", done.err))
    assert went_on.status == 0, went_on.err
    words = run(after("More words: ", went_on.out))
    assert (words.status, len(words.out.splitlines())) == (0, 20)


def test_a_list_from_standard_input_is_given_again(tmp_path, monkeypatch, stopped_at):
    monkeypatch.chdir(tmp_path)
    done = stopped_at("train", "--data", "-", "--out", "r", stdin=TEXT.encode())
    assert done.err.splitlines()[-1].endswith(
        "with the list on standard input: rungwise train --out r --resume --data -"
    )
    went_on = run(after("standard input: ", done.err), stdin=TEXT.encode())
    assert went_on.status == 0, went_on.err


def test_a_list_that_was_moved_is_named_again(tmp_path, monkeypatch, stopped_at):
    monkeypatch.chdir(tmp_path)
    Path("old").write_text(TEXT)
    stopped_at("train", "--data", "old", "--out", "r")
    Path("old").rename("new place")
    with observed(ctrl_c()):
        again = command("train", "--out", "r", "--resume", "--data", "new place")
    assert again.status == 130
    assert run(after("Go on: ", again.err)).status == 0


def test_a_run_that_is_watched_goes_on_being_watched(tmp_path, stopped_at):
    pytest.importorskip("tensorboard")
    (tmp_path / "l").write_text(TEXT)
    done = stopped_at("train", "--data", tmp_path / "l", "--out", tmp_path / "r", "--tensorboard")
    printed = after("Go on: ", done.err)
    assert parse(shlex.split(printed)[1:]).tensorboard
    assert run(printed).status == 0


def test_words_that_python_gave_are_given_again(tmp_path):
    asked, how = Settings.of({**TINY, "eval_every": 4}, "test"), {"log": lambda line: None, "observers": [ctrl_c()]}
    with pytest.raises(Stopped) as stopped:
        training.start(tmp_path / "r", asked, listed=listed(), **how)
    assert run(after("standard input: ", str(stopped.value)), stdin=f"{TEXT}\n".encode()).status == 0


@pytest.mark.parametrize("data", ["l", "-"])
def test_a_run_without_weights_says_how_to_get_them(tmp_path, monkeypatch, stopped_at, data):
    monkeypatch.chdir(tmp_path)
    Path("l").write_text(TEXT)
    stopped_at("train", "--data", data, "--out", "my run", stdin=TEXT.encode())
    (tmp_path / "my run" / run_dir.WEIGHTS).unlink()
    done = command("sample", "my run")
    assert (done.status, "has no weights yet" in done.err) == (2, True)
    assert run(after(": ", done.err.split("Go on")[1]), stdin=TEXT.encode()).status == 0
    assert command("sample", "my run").status == 0


@pytest.mark.parametrize("name", ODD)
def test_each_command_says_what_to_do_next(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    listed, out = Path("./", f"{name}.csv"), f"--out={name}"
    path = f"./{listed}" if name.startswith("-") else str(listed)
    listed.parent.mkdir(exist_ok=True)
    listed.write_text("\n".join(["word", *WORDS]))
    described = command("data", path, "--column", "word", "--max-length", 9)
    trains = after("Train on it: ", described.out)
    assert run(f"{trains} {shlex.join([out, *flags(**TINY)])}").status == 0
    trained = f"./{name}"
    told = command("eval", trained, path, "--column", "word", "--weights", "last")
    each = run(after("Word by word: ", told.out))
    assert each.status == 0 and len(each.out.splitlines()) == 1 + len(WORDS)
    assert each.err == "".join(f"{line}\n" for line in told.out.splitlines()[:-1])
    how = ["--steps", 2, "--seeds", 1, "--rungs", "baseline", "--engine", "torch", "--processes", 1]
    Path("l").write_text(TEXT)
    climbed = command("climb", "--data", "l", f"--out={name} climb", *how)
    assert len(run(after("Words: ", climbed.out)).out.splitlines()) == 20
    for marker in ("Report: ", "Look inside: "):
        (path,) = re.findall(f"^{marker}(.*)$", climbed.out, re.MULTILINE)
        assert Path(path).read_text(encoding="utf-8").endswith("</html>\n")


def test_json_is_json_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("l").write_text(TEXT)
    for arguments in (
        ["data", "l"],
        ["eval", tiny_run(tmp_path), "l"],
        ["climb", "--data", "l", "--steps", 2, "--seeds", 1, "--rungs", "baseline", "--processes", 1],
    ):
        (line,) = command(*arguments, "--json").out.splitlines()
        assert isinstance(json.loads(line), dict)


def test_the_ladder_says_how_to_climb_it():
    assert parse(shlex.split(after("Train and compare them: ", command("ladder").out))[1:]).rungs == "all"


@pytest.mark.parametrize("name", ["my words.txt", "-"])
def test_the_climb_that_a_report_prints_is_that_climb(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    stdin = {"stdin": TEXT.encode()}
    Path("my words.txt").write_text(TEXT)
    how = ["--steps", 2, "--seeds", 2, "--rungs", "baseline", "--engine", "torch", "--processes", 1]
    assert command("climb", "--data", name, "--out", "c d", *how, **stdin).status == 0
    assert command("report", "c d").status == 0
    printed = re.search(r"(rungwise climb .*?)(?: \||$)", Path("c d/report.md").read_text(), re.MULTILINE)
    assert printed
    before = Path("c d/results.jsonl").read_text()
    line = printed[1].replace("\\", "")
    assert run(f"{line} --out 'c d'", **stdin).status == 0  # the same climb: it has nothing left to do
    assert Path("c d/results.jsonl").read_text() == before


def test_the_help_that_an_error_names_is_there():
    for name in ["", *COMMANDS]:
        done = command(*filter(None, [name]), "--nonsense")
        assert done.status == 2
        shown = run(after("see ", done.err))
        assert shown.status == 0 and "usage: rungwise" in shown.out
    assert parse(shlex.split(after("Start with: ", DESCRIPTION))[1:]) is not None


def test_commands_are_put_together_in_one_place():
    """What is put into a command must be quoted, and hints.py does."""
    pattern = re.compile(rf"rungwise ({'|'.join(COMMANDS)}) [^.:;]*\0|--(out|data|config|column) \0")
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr) and path.name != "hints.py":
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                assert not pattern.search(text), f"{path}:{node.lineno}"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4))
def test_any_argument_comes_through_a_shell(arguments):
    assert shlex.split(hints.command("sample", *arguments)) == ["rungwise", "sample", *arguments]
    for text in filter(None, arguments):
        out = shlex.split(hints.command("sample", Path(text)))[2]
        assert Path(out) == Path(text) and not out.startswith("-")


def test_another_list_of_the_articles_name_is_offered_as_it_can_be_pasted(tmp_path, monkeypatch):
    folder = tmp_path / "my lists"
    folder.mkdir()
    (folder / "names.txt").write_text("\n".join(WORDS))
    monkeypatch.setenv("RUNGWISE_DATA_DIR", str(folder))
    refused = command("train", "--data", "names", "--out", tmp_path / "run")
    assert refused.status == 2 and "SHA-256 differs" in refused.err
    pasted = shlex.split(refused.err[refused.err.index("--data ") :])
    assert command("train", *pasted, *flags(**TINY), "--out", tmp_path / "run").status == 0

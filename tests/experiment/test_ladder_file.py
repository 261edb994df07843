"""One's own ladder: rungs and questions in a file are measured, paired, judged and shown as ours are."""

from pathlib import Path

import pytest

import made_up
from conftest import make_words
from helpers import command
from rungwise.analysis.asked import ask
from rungwise.analysis.evidence import read
from rungwise.errors import UserError
from rungwise.experiment.ladder_file import LADDER_FILE, load
from rungwise.ladder import RUNGS

OWN = """
[[rung]]
name = "wider"
on = "baseline"
changes = { n_embd = 48, learning_rate = 2e-3 }
why = "Is the baseline too narrow?"

[[rung]]
name = "wider-still"
on = "wider"
changes = { n_embd = 64 }

[[question]]
after = "wider"
before = "baseline"

[[question]]
after = "wider-still"
before = "wider"
margin = 0.02
"""
HOW = ["--steps", 3, "--seeds", 2, "--engine", "torch", "--processes", 1]


@pytest.fixture(autouse=True)
def ladder_as_it_was():
    before = dict(RUNGS)
    yield
    RUNGS.clear()
    RUNGS.update(before)


@pytest.fixture
def own(tmp_path) -> Path:
    (tmp_path / "own.toml").write_text(OWN)
    return tmp_path / "own.toml"


def test_a_file_is_rungs_and_questions(own):
    found = load(own)
    assert [r.name for r in found.rungs] == ["wider", "wider-still"]
    assert found.measured == ["baseline", "wider", "wider-still"]
    assert (RUNGS["wider-still"].model.n_embd, RUNGS["wider-still"].train.learning_rate) == (64, 2e-3)
    assert RUNGS["wider-still"].group == "own"
    assert [q.margin for q in found.questions] == [0.01, 0.02]
    assert load(own).measured == found.measured  # read again, as a report does


def test_a_climb_of_ones_own_ladder_reports_and_shows_it(own, tmp_path):
    (tmp_path / "list").write_text("\n".join(make_words()))
    out = tmp_path / "out"
    done = command("climb", "--data", tmp_path / "list", "--ladder", own, "--out", out, *HOW)
    assert done.status == 0, done
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"baseline", "wider", "wider-still"}
    assert (out / LADDER_FILE).read_text() == OWN
    for name in ("wider", "wider-still"):  # whoever reads the directory later has read no file
        del RUNGS[name]
    assert command("report", out).status == 0
    text = (out / "report.md").read_text()
    assert "## Your questions" in text and "What your own rungs are worth" in text and f"--ladder {LADDER_FILE}" in text
    assert "wider-still" in (out / "report.html").read_text()
    assert command("play", out, "--data", tmp_path / "list").status == 0
    assert "wider-still" in (out / "play.html").read_text()


def test_questions_are_answered_by_the_one_rule(own, tmp_path):
    load(own)
    folder = made_up.write_climb(tmp_path / "c", losses={"baseline": 2.3, "wider": 2.25, "wider-still": 2.245})
    (folder / LADDER_FILE).write_text(OWN)
    evidence = read([folder])
    better, same = ask(evidence.main, evidence.questions)
    assert (better.answer, same.answer) == ("better", "the same")
    noisy = made_up.write_climb(tmp_path / "n", losses={"baseline": 2.3, "wider": 2.358}, spread=0.03)
    (noisy / LADDER_FILE).write_text(OWN)
    evidence = read([noisy])
    unsure, missing = ask(evidence.main, evidence.questions)
    assert unsure.answer.startswith("inconclusive; ") and "would" in unsure.answer
    assert missing.answer == "not measured: needs rung wider-still in protocol article"


RUNG = '[[rung]]\nname = "mine"\non = "gelu"\nchanges = { n_layer = 2 }\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rungs]]\n", "unknown table 'rungs'; did you mean 'rung'?"),
        ("rung = 3\n", "write each rung as a table [[rung]]."),
        ("", "has neither a [[rung]] nor a [[question]]."),
        ("[[rung]\n", "cannot be read: "),
        (RUNG + 'whi = "x"\n', "rung 1: unknown field 'whi'; did you mean 'why'?"),
        (RUNG.replace("n_layer", "n_layers"), "rung 1: changes: unknown field 'n_layers'; did you mean 'n_layer'?"),
        (RUNG.replace("n_layer", "vocab_size"), "rung 1: changes: unknown field 'vocab_size'; "),
        (RUNG.replace("= 2 ", '= "two" '), "rung 1: changes: n_layer: "),
        (RUNG.replace("= 2 ", "= 0 "), "n_layer must be at least 1, but is 0."),
        (RUNG.replace("gelu", "gelo"), "rung 1: on: unknown rung 'gelo'; did you mean 'gelu'?"),
        (RUNG.replace("mine", "mlp"), "rung 1: the ladder has a rung 'mlp' already; give it another name."),
        (RUNG.replace("mine", "../mine"), "rung 1: name must be of letters, "),
        (RUNG.replace("mine", "a@1"), "rung 1: name must be of letters, "),
        ('[[rung]]\nname = "mine"\n', "rung 1: on: Field required."),
        (RUNG + '[[question]]\nafter = "mine"\nbefore = "mnie"\n', "question 1: before: unknown rung 'mnie'; did you"),
        (RUNG + '[[question]]\nafter = "mine"\nbefore = "mine"\n', "question 1: after and before are the same rung."),
        (RUNG + '[[question]]\nafter = "mine"\nbefore = "gelu"\nmargin = 0\n', "margin must be above 0, but is 0.0."),
        (RUNG + RUNG, "rung 2: the ladder has a rung 'mine' already"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, text, says):
    (tmp_path / "own.toml").write_text(text)
    before = dict(RUNGS)
    with pytest.raises(UserError) as error:
        load(tmp_path / "own.toml")
    assert says in str(error.value) and str(error.value).startswith(str(tmp_path / "own.toml"))
    assert "\n" not in str(error.value) and before == RUNGS


def test_no_file_is_one_line(tmp_path):
    done = command("climb", "--ladder", tmp_path / "no.toml", "--out", tmp_path / "c")
    assert done.status == 2 and done.err == f"rungwise: error: No file at {tmp_path / 'no.toml'}.\n"


def test_the_documented_example_is_a_ladder(tmp_path):
    text = (Path(__file__).parents[2] / "docs/own-ladder.md").read_text().partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "own.toml").write_text(text)
    found = load(tmp_path / "own.toml")
    assert found.rungs and found.questions

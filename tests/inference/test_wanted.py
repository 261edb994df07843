"""Words as a user wants them come exactly as often as the model gives them among all words that fit."""

import itertools
import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from helpers import command, tiny_run
from rungwise.config import ModelConfig
from rungwise.data.known_words import KnownWords
from rungwise.data.words import Vocabulary
from rungwise.errors import UserError
from rungwise.inference import automaton, constrained, guesses
from rungwise.inference.constrained import draw
from rungwise.inference.prefix_tree import Drawer, Sampling
from rungwise.inference.wanted import Wanted
from rungwise.model.transformer import Transformer

ABC = Vocabulary("abc")
FIRSTS = np.array([0, 0, 5, 3, 0])
MODEL = Transformer(ModelConfig(vocab_size=5, block_size=5, n_layer=2, n_head=2, n_embd=8), 3).eval()
LONGEST = 4
EVERY = ["".join(w) for k in range(1, LONGEST + 1) for w in itertools.product("abc", repeat=k)]


@torch.no_grad()
def probability(word: str, start: bool) -> float:
    """Of a word, by the model's own forward pass: PAD is never drawn, no word is empty, the last place ends."""
    ids = [1, *ABC.encode(word), 1] if start else [*ABC.encode(word), 1]
    log = 0.0 if start else math.log(FIRSTS[ids[0]] / FIRSTS.sum())
    for i in range(1, len(ids)):
        logits = MODEL(torch.tensor([ids[:i]]))[0, -1].double()
        logits[0] = -torch.inf
        read = i - start
        if read == 0:
            logits[1] = -torch.inf
        if read < LONGEST:
            log += float(logits.log_softmax(-1)[ids[i]])
    return math.exp(log)


def edits(a: str, b: str) -> int:
    """Levenshtein's distance, by its recurrence."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b):
            row.append(min(row[j] + 1, above[j + 1] + 1, above[j] + (x != y)))
    return row[-1]


CASES = {
    "suffix": (Wanted(suffix="ab"), lambda w: w.endswith("ab")),
    "contains": (Wanted(contains="aa"), lambda w: "aa" in w),
    "length": (Wanted(length="2-3"), lambda w: 2 <= len(w) <= 3),
    "pattern": (Wanted(pattern="a(b|cc)*"), lambda w: w in ("a", "ab", "acc", "abb", "abbb", "abcc", "accb")),
    "exclude": (Wanted(exclude=("a", "b", "ca"), length="1-2"), lambda w: len(w) < 3 and w not in ("a", "b", "ca")),
    "unlike": (Wanted(unlike=("ab", "cc")), lambda w: min(edits(w, x) for x in ("ab", "cc")) >= 2),
    "several": (
        Wanted(suffix="c", contains="ba", length="3-4", exclude=("bac",)),
        lambda w: w.endswith("c") and "ba" in w and len(w) >= 3 and w != "bac",
    ),
}


def needs(name: str) -> None:
    package = {"pattern": "interegular", "unlike": "rapidfuzz"}.get(name)
    if package:
        pytest.importorskip(package)


def drawer(start: bool = True, **sampling) -> Drawer:
    return Drawer(MODEL, ABC, None if start else FIRSTS, Sampling(**sampling), 0)


def chi_square(words: list[str], expected: dict[str, float]) -> float:
    assert set(words) <= set(expected)
    total, n = sum(expected.values()), len(words)
    of = sorted(expected, key=expected.__getitem__, reverse=True)
    common = [w for w in of if expected[w] / total * n >= 5]
    seen = [words.count(w) for w in common]
    wanted = [expected[w] / total * n for w in common]
    if len(common) < len(of):
        seen, wanted = [*seen, n - sum(seen)], [*wanted, n - sum(wanted)]
    return float(stats.chisquare(seen, wanted).pvalue) if len(seen) > 1 else 1.0


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_words_come_as_often_as_the_model_says_of_those_that_fit(name, start):
    needs(name)
    wanted, fits = CASES[name]
    words = [w.text for w in draw(drawer(start), wanted, 6000, 1)]
    assert len(words) == 6000
    possible = [w for w in EVERY if fits(w) and (start or w[0] != "c")]  # no word of FIRSTS begins with c
    expected = {w: probability(w, start) for w in possible}
    assert chi_square(words, expected) > 1e-4


def test_likelihoods_are_the_models_own():
    for word in draw(drawer(), Wanted(contains="b", length="1-3"), 50, 0):
        assert word.log_likelihood <= math.log(probability(word.text, True)) + 1e-5


def test_lengths_are_the_lists():
    words = [w.text for w in draw(drawer(), Wanted(like_lengths=(1, 1, 1, 3), suffix="a"), 4000, 0)]
    times = np.bincount([len(w) for w in words], minlength=5)
    assert stats.binomtest(int(times[1]), 4000, 0.75).pvalue > 1e-4 and times[[2, 4]].sum() == 0
    long = [w for w in words if len(w) == 3]
    assert chi_square(long, {w: probability(w, True) for w in EVERY if len(w) == 3 and w[-1] == "a"}) > 1e-4


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(suffix="abcab"),
        Wanted(suffix="x"),
        Wanted(length="7-9"),
        Wanted(contains="abc", length="2"),
        Wanted(exclude=("a", "b", "c"), length="1"),
    ],
)
def test_where_nothing_fits_one_line_says_so_at_once(wanted):
    with pytest.raises(UserError, match="No word fits"):
        next(draw(drawer(), wanted, 5, 0))


@pytest.mark.parametrize("text", ["", "0", "8-4", "a-b", "-3", "4-"])
def test_a_length_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="--length"):
        next(draw(drawer(), Wanted(length=text), 5, 0))


@pytest.mark.parametrize("regex", ["(a)\\1", "("])
def test_a_pattern_that_is_no_regular_language_is_refused(regex):
    pytest.importorskip("interegular")
    with pytest.raises(UserError, match="--pattern"):
        next(draw(drawer(), Wanted(pattern=regex), 5, 0))


def test_other_ways_of_drawing_still_hold():
    words = [w.text for w in draw(drawer(prefix="a", unique=True), Wanted(suffix="b", length="3-4"), 12, 0)]
    assert sorted(words) == sorted(w for w in EVERY if w[0] == "a" and w[-1] == "b" and len(w) >= 3)


@pytest.mark.parametrize("top_p", [1.0, 0.7])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_probabilities_are_those_after_temperature_and_top_p(temperature, top_p):
    """Against words that are drawn without rules, of which those that fit are taken."""
    how = {"temperature": temperature, "top_p": top_p}
    words = [w.text for w in draw(drawer(**how), Wanted(contains="b", length="1-3"), 6000, 1)]
    plain, _ = drawer(**how).words(0, 60_000)
    fitting = [w for w in plain if "b" in w and len(w) < 4]
    kinds = sorted({*words, *fitting})
    table = np.array([[some.count(w) for w in kinds] for some in (words, fitting)])
    common = table.sum(axis=0) >= 20
    table = np.concatenate([table[:, common], table[:, ~common].sum(axis=1, keepdims=True)], axis=1)
    assert stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue > 1e-4


def test_words_of_the_list_are_kept_out_and_forgetting_changes_nothing(monkeypatch):
    known = KnownWords(ABC)
    known.add(known.hash(["a", "b", "ca", "cb"]))
    monkeypatch.setattr(constrained, "MOST_KNOWN", 5)  # all is forgotten after each round
    words = [w.text for w in draw(drawer(new_only=True), Wanted(length="1-2"), 4000, 1, known)]
    fitting = [w for w in EVERY if len(w) < 3 and w not in ("a", "b", "ca", "cb")]
    assert chi_square(words, {w: probability(w, True) for w in fitting}) > 1e-4


@pytest.mark.filterwarnings("ignore:Possible nested set")
@given(st.text("ab|*+?.[]()^{2}\\w", max_size=8), st.lists(st.text("abc", min_size=1, max_size=4), max_size=6))
def test_a_pattern_means_what_it_means_to_python(regex, words):
    pytest.importorskip("interegular")
    try:
        part, oracle = automaton.pattern(regex), re.compile(regex, re.ASCII)
    except (UserError, re.error, RecursionError):
        return  # refused by one of the two
    machine = automaton.combined([part], "abc")
    for word in words:
        state = 0
        for character in word:
            state = -1 if state == -1 else machine.step[state, "abc".index(character)]
        assert (state != -1 and machine.left[state] == 0) == (oracle.fullmatch(word) is not None), (regex, word)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("wanted"))


@pytest.mark.parametrize(
    "flags",
    [
        ["--suffix", "9"],
        ["--length", "60"],
        ["--length", "x"],
        ["--pattern", "("],
        ["--pattern", "[0-9]+"],
        ["--unlike", "{list}", "--edits", "0"],
        ["--exclude", "no-such-file"],
        ["--exclude", "{empty}"],
        ["--top", "5", "--suffix", "9"],
        ["--top", "5", "--temperature", "2"],
        ["--top", "-1"],
    ],
)
def test_what_cannot_be_drawn_is_one_line(run, tmp_path, flags):
    (tmp_path / "list.txt").write_text("anna\n")
    (tmp_path / "empty.txt").write_text("\n")
    paths = {"list": tmp_path / "list.txt", "empty": tmp_path / "empty.txt"}
    found = command("sample", run, *(flag.format(**paths) for flag in flags))
    assert found.status == 2 and found.out == "" and found.err.count("\n") == 1, found.err


def test_the_command_draws_and_ranks_what_is_wanted(run, tmp_path):
    found = command("sample", run, "-n", 30, "--suffix", "a", "--length", "3-6", "--json")
    words = [json.loads(line) for line in found.out.splitlines()]
    assert len(words) == 30 and all(w["word"].endswith("a") and 3 <= len(w["word"]) <= 6 for w in words)
    ranked = command("sample", run, "--top", 10, "--suffix", "a", "--json").out.splitlines()
    nats = [json.loads(line)["log_likelihood"] for line in ranked]
    assert len(nats) == 10 and nats == sorted(nats, reverse=True) and '"part"' in ranked[0]
    every = command("sample", run, "-n", 3, "--pattern", ".*")
    assert "matches every word" in every.err and len(every.out.splitlines()) == 3
    (tmp_path / "list.txt").write_text("anna\nben\nzzzzzz\n")
    lines = command("eval", run, tmp_path / "list.txt", "--guess-number", "--words").out.splitlines()
    assert lines[0].split("\t")[2:4] == ["guess_number", "guess_number_error"] and len(lines) == 4
    told = json.loads(command("eval", run, tmp_path / "list.txt", "--guess-number", "--json").out)
    assert told["guess_numbers"]["draws"] == guesses.DRAWS and len(told["guess_numbers"]["median"]) == 2

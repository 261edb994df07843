"""Figures of known generators are those that theory gives; real words get what held-out words get."""

import itertools
import json
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import command
from rungwise.errors import UserError
from rungwise.judge import counts, estimates
from rungwise.judge.judgement import ALL_VALID, brief, judge
from rungwise.judge.rules import rule

WORD = st.text("abcä", min_size=1, max_size=6)


def made(n: int, seed: int, letters: str = "abcdefgh", length: int = 6) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(w) for w in rng.choice(list(letters), (n, length))]


def figures(train, held_out, samples, **more):
    return {f.name: f for f in judge(train, held_out, samples, **more).figures}


@pytest.fixture(scope="module")
def perfect():
    """Real words and generated ones of one distribution."""
    words = list(dict.fromkeys(made(5000, 1)))
    return figures(words[:3500], words[3500:], made(2000, 2))


def test_a_perfect_generator_gets_what_held_out_words_get(perfect):
    for name in ("longest_piece", "letter_distance", "2_gram_distance", "3_gram_distance"):
        own, real = perfect[name].samples, perfect[name].floor
        assert own.low <= real.high and real.low <= own.high, name
    assert perfect["copy_ratio"].samples is None or perfect["copy_ratio"].samples.low <= 1


def test_uniform_words_repeat_as_often_as_the_birthday_problem_says():
    n, kinds = 1000, 20_000
    inside = 0
    for seed in range(100):
        drawn = np.random.default_rng(seed).integers(kinds, size=n)
        found = estimates.unique_at(np.unique(drawn, return_counts=True)[1], n)
        inside += found.low <= kinds * (1 - (1 - 1 / kinds) ** n) / n <= found.high
    assert inside >= 90


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_unique_is_the_mean_over_all_ways_to_choose(times, data):
    words = [i for i, n in enumerate(times) for _ in range(n)]
    k = data.draw(st.integers(1, len(words)))
    every = [len(set(chosen)) / k for chosen in itertools.combinations(words[:10], min(k, 10))]
    if len(words) <= 10:
        assert estimates.unique_at(np.array(times), k).value == pytest.approx(np.mean(every))


def test_a_copier_is_seen():
    words = list(dict.fromkeys(made(3000, 3)))
    found = figures(words[:2000], words[2000:], words[:2000])
    assert found["new"].samples.value == 0 and found["copies_of_training"].samples.value == 1
    assert found["copies_of_held_out"].samples.value == 0 and found["rediscovered"].samples.value == 0
    assert found["longest_piece"].samples is found["nearest"].samples is None  # nothing but copies
    assert found["copy_ratio"].samples is None


def test_a_copier_of_a_list_with_repeats_is_nearer_than_held_out_words():
    words = made(3000, 3)
    train, held_out = words[:2000], words[2000:]
    assert (copied := len([w for w in held_out if w in train])) > 0
    found = figures(train, held_out, train)
    assert found["longest_piece"].samples.value == 6 > found["longest_piece"].floor.high
    assert found["copies_of_training"].floor.value == copied / 1000 < found["copies_of_training"].samples.low


def test_independent_letters_find_held_out_words_as_often_as_chance():
    """The generator that the floor of rediscovery describes gets the floor, and is new as often as theory says."""
    rng = np.random.default_rng(12)
    letters, p = list("abcde"), [0.5, 0.2, 0.15, 0.1, 0.05]

    def draw(n: int) -> list[str]:
        return ["".join(rng.choice(letters, size=rng.integers(3, 6), p=p)) for _ in range(n)]

    words = list(dict.fromkeys(draw(1200)))
    train, held_out = words[0::2], words[1::2]
    own = Counter("".join(train))
    share = np.array([own[c] for c in letters]) / own.total()
    lengths = [len(w) for w in train]
    drawn = ["".join(rng.choice(letters, size=n, p=share)) for n in rng.choice(lengths, 4000)]
    found = figures(train, held_out, drawn)
    rediscovered = found["rediscovered"]
    assert rediscovered.samples.low <= rediscovered.floor.value <= rediscovered.samples.high
    of_length = Counter(lengths)
    listed = sum(of_length[len(w)] / len(train) * np.prod([share[letters.index(c)] for c in w]) for w in words)
    assert found["new"].samples.low <= 1 - listed <= found["new"].samples.high
    assert found["letter_distance"].samples.low <= found["letter_distance"].floor.high
    assert found["3_gram_distance"].same_lengths.value == pytest.approx(found["3_gram_distance"].samples.value, rel=0.1)


def test_uniform_words_are_new_as_often_as_theory_says():
    words = list(dict.fromkeys(made(400, 10, "abc")))  # of 729 words
    found = figures(words[:200], words[200:], made(5000, 11, "abc"))
    for name, share in (("new", 1 - len(words) / 729), ("copies_of_training", 200 / 729)):
        own = found[name].samples
        assert abs(own.value - share) < own.high - own.low, name  # 3.9 standard errors


def test_one_word_over_and_over_is_seen():
    words = list(dict.fromkeys(made(1000, 4)))
    found = figures(words[:600], words[600:], ["abc"] * 1500)
    assert found["unique_at_1000"].samples.value == pytest.approx(1 / 1000)
    assert found["most_frequent"].samples.value == 1


def test_the_whole_list_as_samples_is_seen_in_both_parts_alike():
    words = list(dict.fromkeys(made(2000, 5)))
    found = figures(words[:1500], words[1500:], words)
    assert found["copy_ratio"].samples.value == 1 and found["rediscovered"].samples.value == 1


def test_chance_finds_as_many_held_out_words_as_theory_says():
    """All letters alike: 3 of 2 letters each word, so N samples find 1 - (1 - 1/8)^N of the words."""
    words = ["".join(w) for w in itertools.product("ab", repeat=3)]
    found = figures(words * 5, words, ["aaa"] * 10)["rediscovered"]
    assert found.floor.value == pytest.approx(1 - (7 / 8) ** 10)
    assert found.samples.value == 1 / 8


def test_case_and_accents_are_left_aside():
    found = figures(["Zoë", "ab"], ["cd"], ["zoe", "xy"])
    assert found["new"].samples.value == 1 and found["new_folded"].samples.value == 0.5


def test_short_words_are_weighed_as_the_list_has_them():
    train = ["a"] * 10 + ["abcd"] * 10
    found = figures(train, ["b"], ["a"] * 90 + ["dcba"] * 10)["copies_of_training"]
    assert found.samples.value == 0.9 and found.same_lengths.value == pytest.approx(0.5)


@given(st.lists(WORD, min_size=1, max_size=6), st.lists(WORD, min_size=1, max_size=6))
def test_the_longest_shared_piece_is_the_longest_common_substring(words, others):
    def longest(word: str) -> int:
        pieces = {word[i:j] for i in range(len(word)) for j in range(i + 1, len(word) + 1)}
        return max((len(p) for p in pieces if any(p in o for o in others)), default=0)

    assert counts.longest_shared(words, others).tolist() == [longest(w) for w in words]


def test_divergence_is_worked_by_hand():
    assert counts.divergence(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    assert counts.divergence(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0
    p, q = np.array([0.5, 0.5]), np.array([1.0, 0.0])  # entropy of (3/4, 1/4) less half a bit
    assert counts.divergence(p, q) == pytest.approx(-0.75 * np.log2(0.75) - 0.25 * np.log2(0.25) - 0.5)


def test_nearest_words_are_those_of_a_full_search():
    pytest.importorskip("rapidfuzz")
    from rapidfuzz.distance import Levenshtein

    words, others = made(100, 6), made(200, 7, length=5)
    expected = [min(Levenshtein.distance(w, o) for o in others) for w in words]
    assert counts.nearest(words, others, 1).tolist() == expected


def test_a_rule_is_a_pattern_or_a_function():
    assert rule("regex:a+")("aaa") and not rule("regex:a+")("aab")
    assert rule("python:keyword.iskeyword")("for")
    found = figures(["for", "if"], ["in"], ["for", "x"], valid=rule("python:keyword.iskeyword"))["valid"]
    assert (found.samples.value, found.floor.value) == (0.5, 1)


def test_a_rule_that_no_listed_word_keeps_is_refused_and_one_that_all_keep_is_noted():
    with pytest.raises(UserError, match="no word of the list keeps"):
        judge(["ab"], ["cd"], ["ab"], valid=rule("regex:[0-9]+"))
    assert ALL_VALID in judge(["ab"], ["cd"], ["ab"], valid=rule("regex:.*")).notes


def test_what_a_run_tells_of_its_words_is_what_the_judge_finds():
    words = list(dict.fromkeys(made(3000, 13)))
    train, held_out, drawn = words[:2000], words[2000:], made(900, 14)
    found, told = figures(train, held_out[:900], drawn), brief(train, held_out, drawn, [w not in words for w in drawn])
    assert told.distinct == found["unique_at_900"].samples.value and told.new == found["new"].samples.value
    assert told.distance == pytest.approx(found["3_gram_distance"].samples.value)
    assert told.floor == pytest.approx(found["3_gram_distance"].floor.value, rel=0.1)
    assert brief(train, held_out[:10], drawn, [True] * 900).floor is None


def test_what_takes_long_tells_how_far_it_is():
    seen = []

    @contextmanager
    def bar(total, first=0, what="steps"):
        yield lambda done, remark: seen.append((done, total, remark))

    words = list(dict.fromkeys(made(600, 15)))
    judge(words[:400], words[400:], made(250, 16), valid=rule("regex:[a-h]+"), bar=bar)
    for remark in ("asked whether they are valid", "compared with every training word"):
        told = [(done, total) for done, total, text in seen if text == remark]
        assert told == sorted(told, key=lambda t: (-t[1], t[0])) and len(told) >= 4, remark
        assert all(0 < done <= total for done, total in told)


@pytest.mark.parametrize("text", ["regex:(", "x", "python:nothing", "python:no_such_module.f", "python:math.pi"])
def test_a_rule_that_is_none_is_one_line(text):
    with pytest.raises(UserError, match="--valid"):
        rule(text)


def test_a_rule_that_fails_says_on_which_word():
    with pytest.raises(UserError, match="'abc'"):
        rule("python:math.sqrt")("abc")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(made(300, 8)))
    (tmp_path / "samples.txt").write_text("\n".join(made(200, 9)))
    return tmp_path


def test_the_command_writes_text_json_and_a_page(files):
    text = command("judge", files / "list.txt", files / "samples.txt", "--out", files / "new" / "page.html")
    assert text.status == 0 and "New: not in the list" in text.out and "open it in any browser" in text.out
    page = (files / "new" / "page.html").read_text()
    assert "<svg" in page and "What the figures mean" in page and 'src="http' not in page
    found = json.loads(command("judge", files / "list.txt", "-", "--json", stdin=b"abc\nabc\n").out)
    assert found["sizes"]["samples"] == 2 and found["figures"]["new"]["samples"]["value"] == 1
    again = command("judge", files / "list.txt", files / "samples.txt")
    *_, last = table = again.out.splitlines()
    assert last.startswith("As a page with plots: rungwise judge ")
    assert max(map(len, table[: table.index("", 4)])) <= 80 and table[3].index("real held-out words") == 57
    assert {len(line) for line in table[4:7]} == {58} and "compared with" not in again.err  # quick: nothing to wait for


@pytest.mark.parametrize(
    "arguments", [["-", "-"], ["{list}", "{empty}"], ["{list}", "no"], ["{list}", "{list}", "--protocol", "x"]]
)
def test_what_cannot_be_judged_is_one_line(files, arguments):
    (files / "empty.txt").write_text("\n")
    paths = {"list": files / "list.txt", "empty": files / "empty.txt"}
    found = command("judge", *(a.format(**paths) for a in arguments))
    assert found.status == 2 and found.err.count("\n") == 1 and found.err.startswith("rungwise: error: ")

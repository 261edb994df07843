"""The report: complete, escaped, deterministic, and honest about what is missing."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from math import nan

import numpy as np
import polars as pl
import pytest
from scripts import write_docs

import made_up
from conftest import make_words
from rungwise.analysis.claims import CLAIMS, CONFOUNDS
from rungwise.analysis.evidence import read
from rungwise.analysis.stats import Difference
from rungwise.analysis.tables import HEADER, worth
from rungwise.cli.main import main
from rungwise.config import EngineConfig, get_protocol
from rungwise.errors import UserError
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.collect import collect, read_frame
from rungwise.experiment.plan import Experiment
from rungwise.ladder import LEAVE_ONE_OUT, RUNGS
from rungwise.report import build as report
from rungwise.report.document import Paragraph, Section, Table, escaped, markdown
from rungwise.report.figures import part_steps
from rungwise.report.plots import Level, _apart, ladder
from rungwise.util.hashing import policy_hash


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three made-up protocols, and their report."""
    folder = tmp_path_factory.mktemp("world")
    paths = made_up.write_world(folder)
    return paths, *(path.read_text() for path in report.write(paths, folder / "out"))


class Page(HTMLParser):
    """What a reader of the HTML needs: figures with their names, tags, and references to elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.ids, self.links, self.figures = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("src", "href", "xlink:href", "action") if values.get(name)]
        if tag == "svg":
            self.figures.append(values)


def test_every_figure_is_there_with_words_for_it(world):
    page = Page(world[2])
    names = {f["aria-labelledby"] for f in page.figures}
    kinds = {re.match(r"[a-z-]+?(?=-(article|makemore|strict|scaling))", name)[0] for name in names}
    assert sum("narrow" in name for name in names) * 2 == len(names)  # each once more for a phone
    assert kinds == {"ladder", "gap", "curves", "places", "leave-one-out"}
    for figure in page.figures:
        assert figure["role"] == "img"
        assert set(figure["aria-labelledby"].split()) <= set(page.ids)


def test_the_page_stands_alone(world):
    page = Page(world[2])
    assert page.tags.count("script") == 1
    script = re.search(r"<script>(.*)</script>", world[2], re.S)[1]
    assert f"script-src '{policy_hash(script)}'" in world[2]
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    inner = {link[1:] for link in page.links if link.startswith("#")}
    assert inner <= set(page.ids)
    assert "default-src 'none'" in world[2]


def test_what_a_list_holds_is_text(world):
    _, in_markdown, in_html = world
    assert "<script>alert" not in in_html and "&lt;script&gt;alert(1)" in in_html
    assert "<b>bold" not in in_html and "&lt;b&gt;bold" in in_html
    assert not re.search(r"(?<!\\)<(script|b)>", in_markdown)
    assert r"a\|b\*c_d\`e&amp;amp;" in in_markdown


def test_the_same_results_give_the_same_bytes(tmp_path):
    few = {name: made_up.LOSSES[name] for name in ("baseline", "2-heads", "gelu", "without-rope", "without-mlp")}
    folder = made_up.write_climb(tmp_path, losses=few, seeds=(0, 1))
    twice = [[path.read_text() for path in report.write([folder], tmp_path / name)] for name in ("a", "b")]
    assert twice[0] == twice[1]


def test_published_figures_stand_only_where_they_were_scored_alike(world):
    parts = re.findall(r"^## Protocol (\w+), (.*?)(?=^## )", world[1], flags=re.M | re.S)
    assert {name: any("published" in text for n, text in parts if n == name) for name, _ in parts} == {
        "article": True,
        "makemore": False,
        "strict": False,
    }


def test_numbers_stand_with_unit_and_what_was_scored(world):
    for protocol in ("article", "makemore", "strict"):
        assert f"Losses in nats a character ({get_protocol(protocol).scored})" in world[1]
    assert "2.371 ± 0.001" in world[1] and "Kneser-Ney, 5-gram" in world[1]
    assert re.search(r"\| makemore \| peer \| 204,544 \|.* 2.013 .* \| 5,000 \|", world[1])


def test_the_reports_tables_of_losses_begin_as_those_of_the_terminal(world):
    assert f"| {' | '.join(HEADER[:-1])} | test, bits |" in world[1]
    assert re.search(r"\n\| 2 heads \| baseline \| 5,948 \| 2.25 / 2.23 \|( \d\.\d{3} ± 0\.\d{3} \|){2} ", world[1])


def test_the_report_has_the_words_of_the_field(world):
    old = ("stands on", "stand in training", "counted", "by heart", " alike", "half the 95 %", "not settled", "printed")
    assert [word for word in old if word in world[1] + world[2]] == []


def test_provenance_is_complete(world):
    for text in (
        made_up.NAMES_SHA256,
        "torch 2.13.0",
        "0123456789ab",
        "native",
        "--protocol article --rungs everything --seeds 5",
    ):
        assert text in world[1] and text in world[2]


def test_tuned_rates_are_shown(world):
    assert world[1].count("1.910 ←") == 3 and "2.710" in world[1]


def test_verdicts_are_words_and_symbols(world):
    assert "✓ confirmed" in world[1] and "✗ refuted" in world[1]
    assert ">✗</span> refuted" in world[2]


def test_findings_alone(world):
    text = write_docs.findings(world[0])
    assert text.startswith("# Findings\n") and "## What changed at the same time" in text
    assert text.count("\n### ") == len(CLAIMS) + len(CONFOUNDS)
    assert "7 are confirmed" in text


# --- partial results


def test_a_part_gives_a_report_that_says_what_is_missing(tmp_path):
    losses = {name: made_up.LOSSES[name] for name in ("baseline", "2-heads")}
    folder = made_up.write_climb(tmp_path, losses=losses, seeds=[0], beside=False)
    in_markdown, in_html = (path.read_text() for path in report.write([folder / "results.jsonl"]))
    missing = in_markdown.split("## What is missing")[1].split("\n## ")[0]
    for text in ("makemore, strict", "no words.parquet", "no curves.parquet", "no baselines.json", "one seed", "peers"):
        assert text in missing
    assert "1. Width: – not measured" in in_markdown and "**? inconclusive**" in in_markdown  # one seed: no interval
    assert ">–</span> not measured" in in_html and 'class="verdict not-measured"' in in_html
    assert "--protocol article --rungs everything --seeds 1 measures them: about " in missing
    assert "nan" not in in_markdown.lower().replace("published", "")
    assert len(Page(in_html).figures) == 2 * 3  # ladder, gap, places; wide and narrow


def test_runs_cut_short_say_so(tmp_path):
    few = {name: made_up.LOSSES[name] for name in ("baseline", "2-heads", "4-layers")}
    text = report.write([made_up.write_climb(tmp_path, losses=few, steps=40)])[0].read_text()
    assert "cut short: 40 steps each" in text and "12 are not measured" in text
    assert "published" not in text.split("## Protocol article")[1].split("## What they write")[0]


def test_a_real_climb(tmp_path):
    """Two rungs really trained, for three steps: what the climb leaves is what a report reads."""
    words, protocol = make_words(), get_protocol("strict")
    rungs = [RUNGS["baseline"], RUNGS["2-heads"]]
    experiment = Experiment(words, protocol, rungs, (0, 1), steps=3, how=EngineConfig("torch"))
    run(experiment, tmp_path, make_pool(experiment.how, processes=1))
    frame = read_frame(tmp_path / "words.parquet")
    assert frame.columns == ["word", "tokens", "2-heads/0", "2-heads/1", "baseline/0", "baseline/1"]
    assert set(read_frame(tmp_path / "curves.parquet")["rung"]) == {"baseline", "2-heads"}
    evidence = read([tmp_path])
    assert evidence.main.word_losses is not None and len(evidence.main.word_losses.nats) == 4
    assert not evidence.main.notes
    text = report.write([tmp_path])[0].read_text()
    assert "The article's questions, asked of this list" in text and "2 heads" in text
    page = (tmp_path / "report.html").read_text()
    for verdict in ("confirmed", "refuted", "inconclusive", "published"):
        assert verdict not in text and f"</span> {verdict}" not in page  # it is another list


# --- reading


def test_two_directories_of_one_protocol_are_one_group(tmp_path):
    some, others = dict(list(made_up.LOSSES.items())[:6]), dict(list(made_up.LOSSES.items())[6:])
    paths = [made_up.write_climb(tmp_path / "a", losses=some), made_up.write_climb(tmp_path / "b", losses=others)]
    whole = read([made_up.write_climb(tmp_path / "whole")])
    (group,) = read(paths).groups
    assert group.by_rung.keys() == whole.main.by_rung.keys()
    np.testing.assert_array_equal(
        group.combine({"gelu": 1, "baseline": -1}), whole.main.combine({"gelu": 1, "baseline": -1})
    )
    assert group.word_losses and len(group.word_losses.nats) == len(made_up.LOSSES) * 5


def test_words_of_an_older_run_are_left_out(tmp_path):
    folder = made_up.write_climb(tmp_path)
    frame = read_frame(folder / "words.parquet")
    frame.with_columns(pl.col("gelu/0") * 2).write_parquet(folder / "words.parquet")
    group = read([folder]).main
    assert group.combine_words({"gelu": 1.0}) is None and group.combine_words({"rope": 1.0}) is not None
    assert "gelu" in group.notes[0]


def test_what_does_not_fit_the_ladder_is_noted(tmp_path):
    folder = made_up.write_climb(tmp_path)
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    lines[0]["rung"] = "attic"
    lines[-1]["train"]["learning_rate"] = 0.5
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    notes = " ".join(read([folder]).main.notes)
    assert "not on the ladder, left out: attic" in notes and "trained otherwise" in notes


def test_baselines_of_another_protocol_are_left_out(tmp_path):
    folder = made_up.write_climb(tmp_path)
    other = made_up.write_climb(tmp_path / "other", "strict")
    (folder / "baselines.json").write_bytes((other / "baselines.json").read_bytes())
    group = read([folder]).main
    assert not group.baselines and "baselines.json" in group.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("words.parquet", "no parquet", "words.parquet"), ("baselines.json", "{", "baselines.json")],
)
def test_damaged_files_are_one_clear_error(tmp_path, name, content, says):
    folder = made_up.write_climb(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=says):
        read([folder])


def test_nothing_to_read_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="No results"):
        read([tmp_path])
    with pytest.raises(UserError, match="No file"):
        read([made_up.write_climb(tmp_path / "a")], tmp_path / "none.json")


def test_collect_refuses_runs_of_other_words_and_leaves_nothing_for_none(tmp_path):
    collect(tmp_path)
    assert not list(tmp_path.iterdir())
    for seed, word in ((0, 1), (1, 2)):
        run = tmp_path / "gelu" / f"seed-{seed}"
        run.mkdir(parents=True)
        scores = {"word": pl.Series([word], dtype=pl.UInt32), "tokens": [3], "nats": [6.0]}
        pl.DataFrame(scores).write_parquet(run / "scores.parquet")
    with pytest.raises(UserError, match="other test words"):
        collect(tmp_path)


# --- pieces


def test_markdown_escapes_and_keeps_one_line():
    assert escaped("a|b *c* [d](e) <f> g_h _i_ `j` &amp; & k\nl") == (
        r"a\|b \*c\* \[d\](e) \<f> g_h \_i\_ \`j\` &amp;amp; & k" + "\N{REPLACEMENT CHARACTER}l"
    )
    table = Table("cap", ("a", "b"), [("x|y", "1")])
    assert markdown([Section("s", "S", [Paragraph("p"), table])]) == (
        "## S\n\np\n\n*cap*\n\n| a | b |\n|---|--:|\n| x\\|y | 1 |\n"
    )


def test_every_part_has_the_step_that_added_it():
    found = part_steps()
    assert found.keys() == LEAVE_ONE_OUT.keys()
    assert [found[part].name for part in ("heads", "depth", "residual", "MLP", "LayerNorm", "RoPE", "GELU")] == [
        "2-heads", "4-layers", "4-layers", "mlp", "layernorm", "rope", "gelu",
    ]  # fmt: skip


def test_labels_move_apart_and_no_further():
    assert _apart([0, 1, 2], 0.5) == [0, 1, 2]
    assert _apart([0, 0, 5], 1) == pytest.approx([-0.5, 0.5, 5])
    assert np.diff(_apart([0, 0.1, 0.1, 0.3], 1)).min() == pytest.approx(1)


def test_the_command_needs_no_torch(tmp_path):
    folder = made_up.write_climb(tmp_path / "climb", losses={"baseline": 2.4}, seeds=[0, 1])
    code = "import sys; from rungwise.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").exists() and "report.md" in done.stdout


def test_an_error_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, says in (([str(tmp_path)], "No results"), ([], "No climb under runs/")):
        with pytest.raises(SystemExit, match="2"):
            main(["report", *arguments])
        assert capsys.readouterr().err.startswith(f"rungwise: error: {says}")


def test_without_arguments_it_is_the_latest_climb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("old", "new", "older")):
        folder = made_up.write_climb(tmp_path / "runs" / name, losses={"baseline": 2.4}, seeds=[0])
        (folder / "climb.json").write_text("{}")
        os.utime(folder / "results.jsonl", (at := (10, 20, 5)[i], at))
    main(["report"])
    assert [path.parent.name for path in tmp_path.rglob("report.html")] == ["new"]


def test_a_step_is_said_in_words_by_its_interval():
    def step(mean, half, n=5):
        return Difference(mean, 0.0, n, mean - half, mean + half, 0.0)

    assert worth(None) == "" and worth(step(-0.2, nan, 1)) == "one seed: no interval"
    found = [worth(step(*x)) for x in ((-0.1, 0.01), (-0.03, 0.01), (-0.005, 0.001), (0.003, 0.01), (0.03, 0.01))]
    assert found == ["a large gain", "a small gain", "hardly any gain", "no measurable gain", "a small loss"]


def test_a_figures_numbers_are_its_csv():
    levels = [Level("a, b", 2.0, 1.9, 2.1, 2.05), Level("c", 1.5, nan, nan)]
    rows = list(csv.reader(io.StringIO(ladder("n", "t", "c", levels, [("5-gram", 1.8)]).data)))
    assert rows[0] == ["rung", "test_loss", "low", "high", "published"]
    assert rows[1:3] == [["a, b", "2.0", "1.9", "2.1", "2.05"], ["c", "1.5", "nan", "nan", ""]]
    assert rows[3:] == [["5-gram", "1.8", "", "", ""]]

"""What every export does: whole or not at all, with a model card that is true and whose code runs."""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from exports import model_of, random_run, saved
from helpers import WORDS, command, listed, tiny_run
from play_runs import made_up, small_climb
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.experiment import results
from rungwise.export import PACKAGES, Made, export
from rungwise.export.card import model_card
from rungwise.export.check import deviation
from rungwise.inference.score import score
from rungwise.training import run_dir
from rungwise.util.files import contents, new_folder

MADE = Made("a test", "onnx", "print(1)\n", ("A note.",), 1e-7)


def parsed(text: str, folder: Path):
    """The card's header, read by the hub's own library."""
    hub = pytest.importorskip("huggingface_hub")
    (folder / "README.md").write_text(text, encoding="utf-8")
    return hub.ModelCard.load(folder / "README.md").data


# ------------------------------------------------------------------------------------------------------- the card


@pytest.mark.parametrize("protocol", ["strict", "article"])
def test_the_cards_losses_are_the_runs(tmp_path, protocol):
    """Scored anew here, on the list itself."""
    folder = tiny_run(tmp_path, protocol)
    run = run_dir.load(folder)
    text = model_card(run, folder, MADE)
    parts = words.split(listed(), run.protocol)
    expected = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    for name, part in expected.items():
        row = re.search(rf"^\| {name} \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
        if not len(part):
            assert row is None
            continue
        loss = score(run.model, Tape.of(listed(), part, run.protocol)).loss
        assert float(row[1]) == pytest.approx(loss, abs=6e-5)
        assert float(row[2]) == pytest.approx(loss / torch.log(torch.tensor(2.0)).item(), abs=6e-5)
    told = {m.metric_name: m for m in parsed(text, tmp_path).eval_results}
    test_loss = score(run.model, Tape.of(listed(), parts.test, run.protocol)).loss
    assert told[f"test loss, nats a character ({protocol})"].metric_value == pytest.approx(test_loss, abs=1e-6)
    assert all(m.dataset_name == "some" for m in told.values())


def test_a_climbs_run_takes_its_losses_from_the_results(tmp_path):
    climb = small_climb(tmp_path / "climb", made_up(), "baseline,gelu")
    for result in results.read(climb / results.RESULTS):
        folder = climb / result.rung / f"seed-{result.seed}"
        text = model_card(run_dir.load(folder), folder, MADE)
        assert f"# {result.rung} seed-{result.seed}\n" in text
        assert f"| test | {result.test_loss:.4f} |" in text
        assert "| validation |" not in text


def test_the_card_tells_where_the_run_comes_from(tmp_path):
    folder = tiny_run(tmp_path)
    text = model_card(run_dir.load(folder), folder, MADE)
    header = parsed(text, tmp_path)
    assert (header.library_name, header.pipeline_tag, header.license) == ("onnx", "text-generation", None)
    assert "rungwise" in header.tags
    n_params = sum(p.numel() for p in run_dir.load(folder).model.parameters())
    for told in (
        *(f"{n_params:,} parameters", listed().sha256, f"{len(WORDS)} distinct words", "protocol strict", "steps=20"),
        *("the longest word 5 characters", "n_embd=8", "- A note.", "at most 1.0e-07"),
    ):
        assert told in text, told
    for word in (folder / run_dir.SAMPLES).read_text().split()[:10]:
        assert f"    {word}\n" in text


@pytest.mark.parametrize("name", ["a: b #c", "`x`\n---\nlicense: mit", "日本語.txt", '"q" \\ \x7f\u2028', "- [x"])
def test_any_name_of_a_list_stays_a_name(tmp_path, name):
    """A list's name, and the run's directory, are what the file system allows: they must not break the header."""
    folder = tiny_run(tmp_path)
    run = run_dir.load(folder)
    run.info["data"] = name
    header = parsed(model_card(run, folder, MADE), tmp_path)
    assert header.license is None
    assert {m.dataset_name for m in header.eval_results} == {"".join(c if c.isprintable() else "?" for c in name)}


@examples(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_run_tells_of_itself_the_card_can_be_read(tmp_path, data):
    """A run's config.json and metrics.jsonl may have been altered: a card is made all the same, and is UTF-8."""
    values = (
        st.none()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text())
    )
    folder = tmp_path / "run-strict"
    if not folder.exists():
        tiny_run(tmp_path)
    run = run_dir.load(folder)
    for field in run.info:
        run.info[field] = data.draw(values)
    line = {f"final_{part}_loss": data.draw(values) for part in ("train", "validation", "test")}
    (folder / run_dir.METRICS).write_text(json.dumps(line))
    parsed(model_card(run, folder, MADE), tmp_path)


def test_an_unfinished_run_says_that_nothing_was_measured(tmp_path):
    folder = tiny_run(tmp_path)
    (folder / run_dir.METRICS).unlink()
    (folder / run_dir.SAMPLES).unlink()
    text = model_card(run_dir.load(folder), folder, MADE)
    assert "Not measured" in text
    assert not parsed(text, tmp_path).eval_results


@pytest.mark.parametrize("protocol", ["strict", "article"])
@pytest.mark.parametrize("to", PACKAGES)
def test_the_cards_code_runs_where_the_card_lies(tmp_path, monkeypatch, to, protocol):
    for package in PACKAGES[to]:
        pytest.importorskip(package)
    run_dir.save(tmp_path / "run", random_run(model_of("learned-positions").replace(n_layer=1), protocol), ["anna"])
    out, made = export(tmp_path / "run", to)
    assert out == tmp_path / "run" / to
    assert made.error < 1e-5
    text = (out / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(out)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.parse(code), "README.md", "exec"), {})
    assert printed.getvalue().count("\n") == {"onnx": 3, "hf": 5}[to]
    assert parsed(text, tmp_path).library_name == {"onnx": "onnx", "hf": "transformers"}[to]


# -------------------------------------------------------------------------------------------- whole, or not at all


def test_a_new_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a/b") as folder:
        (folder / "file").write_text("half")
        raise ZeroDivisionError
    assert contents(tmp_path / "a") == set() and not list((tmp_path / "a").iterdir())
    (tmp_path / "a/b").mkdir()
    with new_folder(tmp_path / "a/b") as folder:  # an empty directory may be there
        (folder / "file").write_text("whole")
        assert not list((tmp_path / "a/b").iterdir())
    assert (tmp_path / "a/b/file").read_text() == "whole"
    assert contents(tmp_path / "a") == {"b"}


@pytest.mark.parametrize("to", PACKAGES)
def test_a_full_disk_leaves_nothing(tmp_path, to):
    """A process that may write files of at most 1,000 bytes."""
    for package in PACKAGES[to]:
        pytest.importorskip(package)
    resource = pytest.importorskip("resource")
    arguments = [
        "export",
        str(saved({"onnx": "baseline", "hf": "swiglu"}[to])),
        "--format",
        to,
        "--out",
        str(tmp_path / "new"),
    ]
    code = textwrap.dedent(f"""
        import resource
        import {", ".join(PACKAGES[to])}
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
        from rungwise.cli.main import main
        main({arguments!r})
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"rungwise: error: Cannot write {tmp_path / 'new'}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("to", "package"), [(to, package) for to, all_ in PACKAGES.items() for package in all_])
def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path, monkeypatch, to, package):
    for other in PACKAGES[to]:
        pytest.importorskip(other)
    monkeypatch.setitem(sys.modules, package, None)  # what Python does for a package that is not there
    done = command("export", saved("swiglu"), "--format", to, "--out", tmp_path / "new")
    assert done == (
        2, "", f"rungwise: error: --format {to} needs the package {package}: pip install 'rungwise[{to}]'\n"
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_wrong_logits_never_leave_the_house():
    run = random_run(model_of("swiglu"))

    def off_by_little(tokens):
        with torch.no_grad():
            return run.model(torch.from_numpy(tokens)).numpy() * 1.001

    with pytest.raises(RuntimeError, match="logits differ by"):
        deviation(run.model, off_by_little)
    with pytest.raises(RuntimeError, match="logits differ by nan"):
        deviation(run.model, lambda tokens: off_by_little(tokens) * float("nan"))

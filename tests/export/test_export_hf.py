"""transformers: every rung either loads there by its own classes and computes the same, or is refused with its line."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from exports import BLOCK_SIZE, CHARACTERS, SHAPES, logits_of, model_of, random_run, saved, tokens_of  # noqa: E402
from rungwise.config import ModelConfig  # noqa: E402
from rungwise.config.settings import Settings  # noqa: E402
from rungwise.data.sources import comparable  # noqa: E402
from rungwise.data.words import END, PAD  # noqa: E402
from rungwise.errors import UserError  # noqa: E402
from rungwise.export import export  # noqa: E402
from rungwise.export.hf import find_home  # noqa: E402
from rungwise.export.homes import HOMES, LLAMA  # noqa: E402
from rungwise.inference.sample import Sampling, generate  # noqa: E402
from rungwise.ladder import RUNGS, TRANSFORMERS  # noqa: E402
from rungwise.training import run_dir  # noqa: E402

NATIVE = {
    "no-head-bias": "GPTNeoXForCausalLM",
    "tied": "GPTNeoXForCausalLM",
    "learned-positions": "GPT2LMHeadModel",
    "swiglu": "LlamaForCausalLM",
}
"""Rungs that have a home, and which."""
MORE = {
    "GPT-2, tied": model_of("learned-positions").replace(tie_embeddings=True),
    "GPT-2, ReLU": model_of("learned-positions").replace(mlp="relu"),
    "GPT-NeoX, ReLU, 3 wide": model_of("no-head-bias").replace(mlp="relu", mlp_ratio=3),
    "Llama, tied": model_of("swiglu").replace(tie_embeddings=True),
    "Llama, wide heads": model_of("swiglu").replace(n_embd=14, n_head=7, head_size=10),
}
"""Models beside the ladder that have one, too."""
CONFIGS = {**{rung: model_of(rung) for rung in NATIVE}, **MORE}


def load(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """config name, protocol -> the run, and where it was exported to."""
    made = {}

    def get(name, protocol="strict"):
        if (name, protocol) not in made:
            run, folder = random_run(CONFIGS[name], protocol), tmp_path_factory.mktemp("hf")
            run_dir.save(folder / "run", run, ["anna"])
            made[name, protocol] = run, export(folder / "run", "hf")[0]
        return made[name, protocol]

    return get


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_models_on_every_shape(exported, name):
    run, folder = exported(name)
    model, _ = load(folder)
    assert not model.training
    for shape in SHAPES:
        tokens = tokens_of(shape, run.model.config)
        with torch.no_grad():
            theirs = model(torch.from_numpy(tokens)).logits.numpy()
        np.testing.assert_allclose(theirs, logits_of(run, tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rung", TRANSFORMERS)
def test_every_rung_exports_to_its_class_or_is_refused(rung):
    """A refusal names what to train instead: with these flags the rung has a home."""
    config = RUNGS[rung].model
    if rung in NATIVE:
        assert find_home(config).name == NATIVE[rung]
        return
    with pytest.raises(UserError) as caught:
        find_home(config)
    line = str(caught.value)
    assert "\n" not in line
    flags = re.findall(r"--([\w-]+) (\w+)", line.split("train with ")[1].split(", or export")[0])
    read = {"True": True, "False": False}
    values = {k.replace("-", "_"): int(v) if v.isdigit() else read.get(v, v) for k, v in flags}
    settings = Settings.of(values, "the line")
    model, _ = settings.model_and_train(RUNGS[rung].model, RUNGS[rung].train, config.vocab_size, config.block_size)
    home = find_home(model)
    assert home.name in line
    for field in values:  # each flag is needed
        with pytest.raises(UserError):
            find_home(model.replace(**{field: getattr(config, field)}))
    assert not home.unmet(RUNGS[re.search(r"\(rung ([\w-]+) fits\)", line)[1]].model)


@pytest.mark.parametrize("rung", [name for name in RUNGS if name not in TRANSFORMERS])
def test_another_family_is_refused_in_a_line_that_says_what_takes_it(rung):
    with pytest.raises(UserError, match=f"family {RUNGS[rung].model.family}.*--format onnx"):
        find_home(RUNGS[rung].model)


def test_the_articles_own_model_is_refused_with_this_line():
    with pytest.raises(UserError) as caught:
        find_home(RUNGS["final"].model)
    assert str(caught.value) == (
        "No class that we export to holds this model exactly: for GPTNeoXForCausalLM, the nearest, it has no final "
        "norm and has a head with a bias; train with --final-norm True --head-bias False (rung no-head-bias fits), or "
        "export with --format onnx."
    )


def test_heads_that_a_class_cannot_hold_are_refused():
    narrow = model_of("no-head-bias").replace(n_embd=20, n_head=2, head_size=4)
    with pytest.raises(UserError, match="has heads that are not n_embd / n_head wide; train with --n-embd 8"):
        find_home(narrow)
    uneven = model_of("swiglu").replace(n_embd=7, n_head=3, head_size=2)
    assert LLAMA.unmet(uneven) == {"n_embd": 6}


def test_every_field_of_a_model_is_thought_of():
    """A new field of ModelConfig changes what a model computes: homes must say what it must be, or pass it on."""
    passed_on = {
        *("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "head_size", "mlp_ratio", "tie_embeddings"),
        *("dropout", "attention_dropout"),  # off where a model is used
        *("family", "reach"),  # of other families than the transformer, which are refused
    }
    for home in HOMES:
        assert set(home.needs) | passed_on == set(ModelConfig.fields())


PREFIXES = ["", "a", "<", "né", ". d"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NATIVE)
def test_greedy_words_are_equal_token_for_token(tmp_path, name, seed):
    run = random_run(CONFIGS[name], seed=seed)
    run_dir.save(tmp_path / "run", run, ["anna"])
    model, tokenizer = load(export(tmp_path / "run", "hf")[0])
    for prefix in PREFIXES:
        ours = next(generate(run.model, run.vocabulary, 1, None, Sampling(temperature=0, prefix=prefix)), None)
        drawn = model.generate(**tokenizer(prefix, return_tensors="pt"), do_sample=False)[0].tolist()
        theirs = tokenizer.decode(drawn, skip_special_tokens=True)
        assert drawn == [END, *run.vocabulary.encode(theirs), END]
        assert comparable(theirs) == (ours.text if ours else "")  # ours are as a list has them; a blank is no word


def test_a_model_without_a_start_token_is_begun_with_a_character(exported):
    run, folder = exported("learned-positions", "article")
    model, tokenizer = load(folder)
    assert tokenizer("né").input_ids == run.vocabulary.encode("né").tolist()
    for prefix in PREFIXES[1:]:
        (ours,) = generate(run.model, run.vocabulary, 1, run.firsts, Sampling(temperature=0, prefix=prefix))
        drawn = model.generate(**tokenizer(prefix, return_tensors="pt"), do_sample=False)[0].tolist()
        theirs = tokenizer.decode(drawn, skip_special_tokens=True)
        assert drawn == [*run.vocabulary.encode(theirs), END]
        assert comparable(theirs) == ours.text


@pytest.mark.parametrize("name", NATIVE)
def test_a_padded_batch_gives_what_its_words_give_alone(exported, name):
    run, folder = exported(name)
    model, tokenizer = load(folder)
    batch = tokenizer(PREFIXES, return_tensors="pt", padding=True)
    assert batch["attention_mask"].sum(1).tolist() == [len(prefix) + 1 for prefix in PREFIXES]
    together = model.generate(**batch, do_sample=False, max_new_tokens=5)
    for prefix, row in zip(PREFIXES, together, strict=True):
        alone = model.generate(**tokenizer(prefix, return_tensors="pt"), do_sample=False, max_new_tokens=5)[0]
        assert row[row != PAD].tolist() == alone.tolist()
    right = tokenizer(PREFIXES, return_tensors="pt", padding=True, padding_side="right")
    with torch.no_grad():
        logits = model(**right).logits.numpy()
    for prefix, row in zip(PREFIXES, logits, strict=True):
        ids = np.array([[END, *run.vocabulary.encode(prefix)]])
        np.testing.assert_allclose(row[: ids.shape[1]], logits_of(run, ids)[0], atol=1e-5, rtol=0)


def test_sampled_words_follow_the_models_probabilities(exported):
    """generate() as configured: 4,000 first characters against softmax; never PAD, never an empty word."""
    run, folder = exported("swiglu")
    model, tokenizer = load(folder)
    torch.manual_seed(0)
    words = tokenizer.batch_decode(model.generate(**tokenizer([""] * 4000, return_tensors="pt")), True)
    assert all(1 <= len(word) < BLOCK_SIZE for word in words)
    logits = logits_of(run, np.array([[END]]))[0, 0, 2:].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    seen = np.array([sum(word[0] == c for word in words) for c in CHARACTERS]) / len(words)
    assert np.abs(seen - expected).max() < 4.5 * 0.5 / np.sqrt(len(words))


@pytest.mark.parametrize("name", NATIVE)
def test_the_library_saves_and_loads_it_again(exported, tmp_path, name):
    run, folder = exported(name)
    model, tokenizer = load(folder)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, its_tokenizer = load(tmp_path)
    tokens = tokens_of((3, 7), run.model.config)
    with torch.no_grad():
        np.testing.assert_array_equal(again(torch.from_numpy(tokens)).logits, model(torch.from_numpy(tokens)).logits)
    assert its_tokenizer("né 🙂").input_ids == tokenizer("né 🙂").input_ids


def test_it_trains_on_there(exported):
    """The loss that transformers computes from labels is our loss, and a step lowers it."""
    run, folder = exported("no-head-bias")
    model, tokenizer = load(folder)
    batch = tokenizer(["anna\n", "dede\n"], return_tensors="pt")
    labels = batch["input_ids"]
    first = model(**batch, labels=labels).loss
    logits = torch.from_numpy(logits_of(run, labels.numpy()))[:, :-1]
    ours = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
    assert first.item() == pytest.approx(ours.item(), abs=1e-5)
    first.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad
    assert model(**batch, labels=labels).loss < first


def test_nothing_of_ours_is_needed_to_load_it(exported):
    """In another process, offline, where rungwise cannot be imported; without pickle or code in the directory."""
    found = {name: exported(name) for name in NATIVE}
    for _, folder in found.values():
        assert sorted(path.name for path in folder.iterdir()) == [
            *("README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
            "tokenizer_config.json",
        ]
        assert "auto_map" not in json.loads((folder / "config.json").read_text())
        assert {path.stat().st_mode for path in folder.iterdir()} == {(folder / "README.md").stat().st_mode}
    ids = tokens_of((2, 5), model_of("swiglu"))
    code = (
        "import json, sys; sys.modules['rungwise'] = None\nimport torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\nfor folder in sys.argv[1:]:\n"
        "    model, _ = (auto.from_pretrained(folder) for auto in (AutoModelForCausalLM, AutoTokenizer))\n"
        f"    print(json.dumps(model(torch.tensor({ids.tolist()})).logits.tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(folder) for _, folder in found.values())],
        env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (run, _), line in zip(found.values(), done.stdout.splitlines(), strict=True):
        np.testing.assert_allclose(json.loads(line), logits_of(run, ids), atol=1e-5, rtol=0)


def test_the_command_is_quiet(tmp_path):
    line = [sys.executable, "-W", "default", "-m", "rungwise", "export", str(saved("swiglu")), "--format", "hf"]
    done = subprocess.run([*line, "--out", str(tmp_path / "new")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 2)
    assert done.stdout.startswith(f"Wrote {tmp_path / 'new'}: a LlamaForCausalLM of transformers, with its tokenizer. ")

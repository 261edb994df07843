"""The page as a file: what it embeds, that it embeds it safely, and what the command refuses."""

import base64
import dataclasses
import hashlib
import html.parser
import inspect
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from play_runs import made_up, read_words, save_untrained, small_climb, untrained
from rungwise.cli.main import main
from rungwise.config import EngineConfig, ModelConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.errors import UserError
from rungwise.experiment import results
from rungwise.experiment.climb import open_directory
from rungwise.experiment.plan import Experiment, Task
from rungwise.experiment.task import measure
from rungwise.inference.score import score
from rungwise.ladder import RUNGS, select
from rungwise.model import layers
from rungwise.play import collect as collecting
from rungwise.play.collect import CODE, collect, find
from rungwise.play.page import build, make_server
from rungwise.training import run_dir

HOSTILE = ["<script>x", "</script>", '"onerror=', "<!--<a", "a&amp;b", "'><b", "<script>y", '"onerror=1', "ab", "ba"]


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text of the last one of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = f"{tag} {dict(attrs).get('type', '')}".strip()

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        self.texts[self.open] = self.texts.get(self.open, "") + data


@pytest.fixture(scope="module")
def climb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_climb(tmp_path_factory.mktemp("play") / "climb", made_up(), "baseline,double-embd,rope,gelu")


@pytest.fixture(scope="module")
def data(climb: Path) -> dict:
    return collect(find([climb]), made_up(), "float16")


def test_rungs_stand_in_the_ladders_order_with_their_figures(data: dict) -> None:
    assert [rung["name"] for rung in data["rungs"]] == ["baseline", "double-embd", "rope", "gelu"]
    for rung in data["rungs"]:
        assert rung["n_params"] == sum(np.prod(shape) for _, shape in rung["weights"]["layout"])
        assert rung["test_loss"]["n"] == 2 and rung["test_loss"]["half"] > 0
        assert rung["curve"] and len(rung["snapshots"]) == 2
    assert data["rungs"][3]["step"] is not None
    assert data["rungs"][0]["published"] is None, "published figures stand beside the article's list only"


def test_words_stand_beside_the_loss_over_all_runs_of_a_climb_and_for_a_run_alone(tmp_path: Path) -> None:
    out = small_climb(tmp_path / "climb", made_up(60), "baseline")
    found = find([out])
    assert collect(found, None, "float16")["rungs"][0]["words"] is None, "results of version 0.1.0"
    for i, result in enumerate(found[0].results):
        words_ = {"n": 1000, "distinct": 0.8 + i / 10, "new": 0.5, "distance": 0.2, "floor": 0.05}
        result.detail["words"] = words_
    told = collect(found, None, "float16")["rungs"][0]["words"]
    assert told["distinct"]["mean"] == pytest.approx(0.85) and told["distinct"]["half"] > 0
    assert (told["new"]["mean"], told["distance"]["n"], told["floor"]) == (0.5, 2, 0.05)
    line = {"step": 5, "words_n": 1000, "words_distinct": 0.7, "words_new": 0.9, "words_distance": 0.1}
    (found[0].folder / run_dir.METRICS).write_text(json.dumps(line) + "\n")
    alone = collect(find([found[0].folder]), None, "float16")["rungs"][0]["words"]
    assert alone["distinct"] == {"mean": 0.7, "n": 1, "half": None} and alone["floor"] is None


def test_rungs_link_to_their_chapters_where_there_are_some(climb: Path) -> None:
    shown = collect(find([climb]), None, "float16", "rungs/")["rungs"]
    assert [rung["chapter"] for rung in shown] == [f"rungs/{rung['name']}.html" for rung in shown]


def test_a_real_climb_can_be_shown(tmp_path: Path) -> None:
    experiment = Experiment(made_up(60), get_protocol("strict"), select("baseline"), (0,), 2, how=EngineConfig("torch"))
    out = tmp_path / "c"
    open_directory(experiment, out)
    (result,) = measure(experiment, Task(experiment.rungs[0], (0,)), out, lambda share: None)
    results.append(out / results.RESULTS, result)
    shown = collect(find([out]), experiment.words, "float16")["rungs"][0]
    assert shown["test_loss"]["mean"] == result.test_loss and shown["test_loss"]["half"] is None
    assert shown["curve"][-1][0] == 2


def test_weights_come_back(climb: Path) -> None:
    found = find([climb])
    for precision, tolerance in (("float32", 0), ("float16", 1e-3)):
        weights = collect(found, None, precision)["rungs"][0]["weights"]
        values = np.frombuffer(base64.b64decode(weights["data"]), np.dtype(precision).newbyteorder("<"))
        truth = np.concatenate([p.numpy().ravel() for p in found[0].run.model.state_dict().values()])
        assert np.abs(values - truth).max() <= tolerance * np.abs(truth).max()


def test_weights_beyond_float16_are_refused(tmp_path: Path) -> None:
    run = untrained(made_up(), RUNGS["baseline"])
    run.model.head.bias.data[3] = 1e5
    run_dir.save(tmp_path / "run", run, [])
    with pytest.raises(UserError, match="float32"):
        collect(find([tmp_path / "run"]), None, "float16")
    assert collect(find([tmp_path / "run"]), None, "float32")


def test_every_word_of_training_is_found_and_few_others() -> None:
    listed = made_up(2000)
    members = collecting._members(listed, np.arange(0, 2000, 2))
    bits = np.unpackbits(np.frombuffer(base64.b64decode(members["data"]), np.uint8), bitorder="little")

    def found(ids: np.ndarray) -> bool:
        """The filter by hand, as text.js reads it."""
        first, second = (_fnv1a(ids.tolist(), basis) for basis in (0x811C9DC5, 0x01000193))
        return all(bits[(first + i * (second | 1)) % members["bits"]] for i in range(members["hashes"]))

    inside = {listed[i] for i in range(0, 2000, 2)}
    assert all(found(listed.vocabulary.encode(word)) for word in inside)
    rng = np.random.default_rng(1)
    others = ["".join(rng.choice(list(listed.vocabulary.characters), size=9)) for _ in range(4000)]
    wrong = np.mean([found(listed.vocabulary.encode(word)) for word in others if word not in inside])
    assert wrong < 4 * members["false_positives"] + 1e-3 and members["false_positives"] < 1e-3


def _fnv1a(ids: list[int], h: int) -> int:
    for i in ids:
        h = (h ^ i) * 0x01000193 % 2**32
    return h


def test_quantiles_are_those_of_the_training_words(data: dict, climb: Path) -> None:
    run, listed = find([climb])[0].run, made_up()
    tape = Tape.of(listed, words.split(listed, run.protocol).train, run.protocol)
    exact = -score(run.model, tape).words
    quantiles = data["rungs"][0]["quantiles"]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] == pytest.approx(exact.min(), abs=1e-3)
    assert quantiles[100] == pytest.approx(np.median(exact), abs=1e-3)


def test_changes_and_code_follow_the_ladder(tmp_path: Path) -> None:
    data = collect(find(save_untrained(tmp_path, made_up(40))), None, "float16")
    source = inspect.getsource(layers)
    for shown in data["rungs"]:
        rung = RUNGS[shown["name"]]
        assert {c["field"]: c["after"] for c in shown["changes"]} == dict(rung.changes)
        architecture = set(rung.changes) & set(ModelConfig.fields())
        assert not architecture or shown["code"], f"{rung.name}: no code for {architecture}; add it to CODE"
    rope = next(shown for shown in data["rungs"] if shown["name"] == "rope")
    assert rope["code"][0]["where"] == "model/layers.py, RoPE" and rope["code"][0]["text"] in source
    assert rope["changes"] == [{"field": "position", "before": "none", "after": "rope"}]
    assert all(CODE.values())


def test_changes_are_those_of_the_runs_as_trained(tmp_path: Path) -> None:
    """A tuned climb gives each rung its own learning rate."""
    tuned = untrained(made_up(), RUNGS["rope"])
    tuned = dataclasses.replace(tuned, train_config=tuned.train_config.replace(learning_rate=3e-3))
    run_dir.save(tmp_path / "a", tuned, [])
    run_dir.save(tmp_path / "b", untrained(made_up(), RUNGS["gelu"]), [])
    rope, gelu = collect(find([tmp_path / "a", tmp_path / "b"]), None, "float16")["rungs"]
    assert rope["changes"] == [{"field": "position", "before": "none", "after": "rope"}]
    assert {c["field"]: c["before"] for c in gelu["changes"]} == {"mlp": "relu", "learning_rate": 3e-3}


def test_the_policy_allows_the_pages_own_script_and_style_only(data: dict) -> None:
    text = build(data)
    page = Page(text)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy.replace("'wasm-unsafe-eval'", ""), "but for the engine"
    for kind, element in (("script-src", "script module"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(page.texts[element].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("src") is None and str(attributes.get("href", "data:,")) == "data:,", tag
    scripts = text[text.index("const modules") :]
    assert scripts.count("outerHTML") == scripts.count("const blank = document.documentElement.outerHTML") == 1, "read"
    for forbidden in ("innerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch("):
        assert forbidden not in scripts


def test_a_hostile_list_cannot_leave_its_element(tmp_path: Path) -> None:
    listed = read_words(HOSTILE, "<img src=x onerror=alert(1)>")
    text = build(collect(find([small_climb(tmp_path / "c", listed, "baseline", (0,))]), listed, "float16"))
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 2 and "img" not in [tag for tag, _ in page.elements]
    embedded = page.texts["script application/json"]
    assert "<" not in embedded
    assert json.loads(embedded)["list"]["characters"] == listed.vocabulary.characters


def test_runs_of_two_lists_are_refused(tmp_path: Path) -> None:
    run_dir.save(tmp_path / "a", untrained(made_up(), RUNGS["rope"]), [])
    run_dir.save(tmp_path / "b", untrained(made_up(100), RUNGS["rope"]), [])
    with pytest.raises(UserError, match="differ in list or protocol"):
        find([tmp_path / "a", tmp_path / "b"])


def test_two_runs_of_one_rung_have_two_names(tmp_path: Path) -> None:
    for name in "ab":
        run_dir.save(tmp_path / name, untrained(made_up(), RUNGS["rope"]), [])
    shown = collect(find([tmp_path / "a", tmp_path / "b"]), None, "float16")["rungs"]
    assert [rung["name"] for rung in shown] == ["rope", "rope-2"]


def test_the_command_takes_the_latest_climb_or_says_what_to_do(
    climb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["play"])
    assert "run rungwise climb first" in capsys.readouterr().err
    shutil.copytree(climb, tmp_path / "runs" / "one")
    main(["play"])
    captured = capsys.readouterr()
    assert (tmp_path / "runs/one/play.html").exists() and "4 rungs" in captured.out
    assert "--data FILE" in captured.err, "the list is not at hand, and the command says so"


def test_the_list_is_checked(climb: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    listed, other, out = tmp_path / "words.txt", tmp_path / "other.txt", tmp_path / "page.html"
    listed.write_text("\n".join(made_up()))
    other.write_text("\n".join(made_up(50)))
    main(["play", str(climb), "--data", str(listed), "--out", str(out)])
    assert json.loads(Page(out.read_text()).texts["script application/json"])["list"]["members"]
    with pytest.raises(SystemExit):
        main(["play", str(climb), "--data", str(other), "--out", str(out)])
    assert "SHA-256" in capsys.readouterr().err


def test_a_chosen_seed_is_shown(climb: Path) -> None:
    assert {kept.run.info["seed"] for kept in find([climb], seed=1)} == {1}
    assert {kept.run.info["seed"] for kept in find([climb], seed=9)} == {0}


def test_served_on_this_machine_only() -> None:
    with make_server(b"the page", 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert urllib.request.urlopen(url).read() == b"the page"
        for request in (url + "etc/passwd", urllib.request.Request(url, headers={"Host": "evil.example"})):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(request)
        server.shutdown()


def test_help_does_without_torch() -> None:
    code = (
        "import sys\nfrom rungwise.cli.main import main\n"
        "try: main(['play', '--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0 and re.search(r"--serve", shown.stdout), shown.stderr

"""Models of every family in the page: PyTorch's logits, and what each view says of a model without attention."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from play_runs import made_up, small_climb
from rungwise.config import ModelConfig
from rungwise.ladder import select
from rungwise.model.families import FAMILIES
from rungwise.model.transformer import Transformer
from rungwise.play.collect import collect, find
from rungwise.play.page import build

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
RIVALS = [rung.name for rung in select("families") if rung.group == "family" and not rung.name.endswith("-large")]


@pytest.mark.skipif(not NODE, reason="needs Node")
@pytest.mark.parametrize("family", ["bigram", *FAMILIES])
@pytest.mark.parametrize(
    "parts",
    [
        {"projection": True, "position": "learned", "norm": "rmsnorm", "mlp": "swiglu", "final_norm": True},
        {"projection": False, "position": "none", "norm": "none", "mlp": "none", "residual": False},
    ],
    ids=["all parts", "alone"],
)
def test_logits_agree_with_pytorch_to_a_hundred_thousandth(family, parts):
    """Longer than a window of three and than two blocks of convolutions reach."""
    config = ModelConfig(vocab_size=13, block_size=11, n_layer=2, n_head=2, n_embd=12, family=family, reach=3, **parts)
    model = Transformer(config, seed=1).eval()
    tokens = np.random.default_rng(0).integers(1, 13, 11).tolist()
    state = {name: p.detach().numpy() for name, p in model.named_parameters()}
    flat = np.concatenate([p.ravel() for p in state.values()]).astype("<f4")
    given = {
        "config": {**config.to_dict(), "head_size": config.head_width, "mlp_hidden": config.mlp_hidden},
        "weights": {"layout": [[name, list(p.shape)] for name, p in state.items()], "data": _base64(flat)},
        "tokens": tokens,
    }
    script = Path(__file__).with_name("forward_in_node.js")
    done = subprocess.run([str(NODE), script], input=json.dumps(given), capture_output=True, text=True, check=True)
    with torch.no_grad():
        expected = model(torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5, rtol=0)


def _base64(values: np.ndarray) -> str:
    import base64

    return base64.b64encode(values.tobytes()).decode()


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_every_view_shows_every_family_or_says_why_not(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    listed = made_up(60)
    found = find([small_climb(tmp_path / "runs", listed, ",".join(["gelu", *RIVALS]), (0,), "strict")])
    path = tmp_path / "page.html"
    path.write_text(build(collect(found, listed, "float32")), encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page, heard = browser.new_page(), list[str]()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        for name in ["gelu", *RIVALS]:
            for view in ("predict", "generate", "flow", "climb"):
                page.goto(f"{path.as_uri()}#view={view}&rung={name}")
                assert page.locator(f"#{view}").is_visible()
                assert "NaN" not in page.inner_text(f"#{view}")
            assert page.locator("#climb .model").count()
            page.goto(f"{path.as_uri()}#view=generate&rung={name}")
            assert page.locator("#generate-words li").count() == 10
            for view in ("attend", "inside"):
                page.goto(f"{path.as_uri()}#view={view}&rung={name}")
                assert page.locator(f"#{view}").is_visible() == (name == "gelu")
                assert page.locator("#no-attention").is_visible() == (name != "gelu")
        browser.close()
    assert not heard

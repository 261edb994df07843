"""The Train view for those who watch it, listen to it or look elsewhere: no long task, no chatter, no lost focus."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_train_browser import DONE, choose
from test_train_node import TOLERANCE, on_the_command_line

from play_runs import MINUTE, cpu_ms
from rungwise.data.words import load
from rungwise.ladder import RUNGS, SELECTIONS
from rungwise.play.page import __file__ as play_page

ARTICLE = SELECTIONS["article"]
STEPS = 300
MOST_MS = 50
"""Of a task: a longer one is felt (https://www.w3.org/TR/longtasks-1/)."""
LISTEN = """
globalThis.heard = [];
const watch = new MutationObserver((changes) =>
  heard.push(...new Set(changes.map(({ target }) => target.id + ": " + target.textContent))));
for (const region of document.querySelectorAll("[role=status], [role=alert], [aria-live]"))
  watch.observe(region, { childList: true, characterData: true, subtree: true });
"""


def until(page: Any, expression: str, arg: Any = None) -> None:
    """Wait for it by asking: the page's policy lets nobody wait inside."""
    end = time.monotonic() + MINUTE / 1000
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def test_a_training_neither_blocks_the_page_nor_chatters(chromium: Any, open_page: Any) -> None:
    page = open_page()
    page.evaluate(LISTEN)
    choose(page, *ARTICLE, steps=STEPS)
    chromium.start_tracing(page=page, categories=["toplevel"])
    page.click("#train-go")
    page.wait_for_selector(DONE)
    until(page, "rungwise.losses('gelu').length === 300")
    tasks = cpu_ms(chromium.stop_tracing())
    assert len(tasks) > 100, "the trace holds the training"
    assert tasks[0] < MOST_MS, tasks[:5]
    heard = page.evaluate("heard")
    # A list that is read between two drawings of the page is not said to be read.
    assert heard[0].endswith("Reading the list.") or "Training on" in heard[0]
    assert "Done in" in heard[-1]
    assert 3 <= len(heard) <= 13, "the list, the start, a run in each tenth of the work at most, the end"
    assert len({line.split(":")[0] for line in heard}) == 1, "and nothing is said elsewhere"


def test_of_many_runs_some_are_read_aloud(open_page: Any) -> None:
    page = open_page()
    page.evaluate(LISTEN)
    choose(page, "baseline", "double-embd", "2-heads", "4-layers", steps=20, seeds=5)
    page.click("#train-go")
    page.wait_for_selector(DONE)
    assert page.locator("#train-legend li").count() == 4
    assert len(page.evaluate("heard")) <= 13, "20 runs"


def test_what_has_the_focus_is_read_once(open_page: Any) -> None:
    """The buttons of the legend and the dots of the curve stay as they are while the curves grow."""
    page = open_page()
    choose(page, "baseline", "gelu", steps=600)
    page.click("#train-go")
    for place in ("#train-legend button[data-key=gelu]", ".curves .stop >> nth=0"):
        page.wait_for_selector(place)
        page.evaluate("place => { globalThis.held = document.querySelector(place); }", place.split(" >>")[0])
        page.evaluate("held.focus()")
        at = page.evaluate("rungwise.losses('gelu').length")
        until(page, "at => rungwise.losses('gelu').length > at + 60", at)
        page.wait_for_timeout(300)
        assert page.evaluate("held.isConnected && document.activeElement === held"), place
    for name in ("baseline", "gelu", "baseline"):  # and each does what it says, whichever rung was chosen before
        page.click(f"#train-legend button[data-key={name}]")
        page.locator(".curves .stop").first.press("Enter")
        assert page.get_attribute(f"#train-legend button[data-key={name}]", "aria-pressed") == "true"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_axe_finds_nothing_before_while_and_after(open_page: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = open_page(viewport={"width": width, "height": 700}, color_scheme=scheme, reduced_motion="reduce")

    def look() -> None:
        found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not [(v["id"], v["nodes"][0]["html"]) for v in found]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.getAnimations().length") == 0, "nothing moves by itself"

    look()
    choose(page, "baseline", "4-layers", "gelu", steps=3000)
    page.locator("#experiment summary").click()
    look()
    page.click("#train-go")
    page.wait_for_selector(".wrote >> nth=2")
    look()
    page.click("#train-stop")
    page.wait_for_selector(DONE)
    look()


def test_a_training_needs_no_mouse(open_page: Any) -> None:
    page = open_page()
    keys, focused = page.keyboard, "document.activeElement.id"

    def tab_to(name: str) -> None:
        for _ in range(60):
            if page.evaluate(focused) == name:
                return
            keys.press("Tab")
        raise AssertionError(f"Tab does not lead to {name}.")

    tab_to("train-steps")
    keys.press("Control+a")
    keys.type("2000")
    tab_to("train-go")
    keys.press("Enter")
    until(page, f"{focused} === 'train-pause'")  # Train rests: the focus goes on
    until(page, "rungwise.losses('gelu').length > 0")
    keys.press("Space")
    page.wait_for_selector("#train-numbers:has-text('Paused')")
    page.wait_for_selector("#train-pause:text-is('Continue')")
    at = page.evaluate("rungwise.losses('gelu').length")
    keys.press("Space")
    until(page, "at => rungwise.losses('gelu').length > at", at + 10)
    keys.press("Tab")
    assert page.evaluate(focused) == "train-stop"
    keys.press("Enter")
    page.wait_for_selector(DONE)
    until(page, f"{focused} === 'train-go'")
    tab_to("train-zip")


class Tab:
    """A tab beside others in one window. Playwright tells its own pages that they are in front, always."""

    def __init__(self, browser: Any, url: str) -> None:
        self.session, self.answers = browser.new_browser_cdp_session(), {}
        self.session.on("Target.receivedMessageFromTarget", self.hear)
        self.target = self.session.send("Target.createTarget", {"url": url})["targetId"]
        attached = self.session.send("Target.attachToTarget", {"targetId": self.target, "flatten": False})
        self.id = attached["sessionId"]

    def hear(self, told: dict[str, Any]) -> None:
        message = json.loads(told["message"])
        self.answers[message.get("id")] = message

    def evaluate(self, expression: str, _: Any = None) -> Any:
        number = len(self.answers) + 1
        asked = {
            "id": number,
            "method": "Runtime.evaluate",
            "params": {"expression": expression, "returnByValue": True},
        }
        self.session.send("Target.sendMessageToTarget", {"sessionId": self.id, "message": json.dumps(asked)})
        while number not in self.answers:
            self.wait_for_timeout(10)
        return self.answers[number]["result"]["result"].get("value")

    def wait_for_timeout(self, ms: float) -> None:
        time.sleep(ms / 1000)
        self.session.send("Target.getTargets")  # what was heard meanwhile is handed on

    def show(self) -> None:
        self.session.send("Target.activateTarget", {"targetId": self.target})


def test_a_tab_in_the_background_trains_on(chromium: Any, empty_page: Path) -> None:
    tab = Tab(chromium, empty_page.as_uri())
    done = "document.getElementById('train-said')?.textContent.includes('Done in')"
    until(tab, "globalThis.rungwise !== undefined")
    tab.evaluate(f"""
        document.getElementById("train-steps").value = {2 * STEPS};
        for (const box of document.querySelectorAll("#train-rungs input"))
          box.checked = ["baseline", "gelu"].includes(box.value);
        document.getElementById("train-go").click();
    """)
    until(tab, "rungwise.losses('gelu').length > 0")
    front = Tab(chromium, "about:blank")
    front.show()
    until(tab, "document.hidden")
    assert not tab.evaluate(done), "it is in the background while it trains"
    until(tab, done)
    assert tab.evaluate("document.hidden")
    tab.show()
    until(tab, "!document.hidden")
    found = np.array(tab.evaluate("rungwise.losses('gelu')"))
    expected = on_the_command_line(load("given-names"), "strict", RUNGS["gelu"], 2 * STEPS, 0)["losses"]
    assert np.abs(found - expected).max() < TOLERANCE, "no step is missing, and none is wrong"
    label = tab.evaluate("document.querySelector('.curves').getAttribute('aria-label')")
    last = expected[548:].mean()  # the last of the 70 pieces that end at powers of the steps
    assert float(label.split()[-1]) == pytest.approx(last, abs=1e-3), "the curve is that of the whole training"
    assert tab.evaluate("document.querySelectorAll('.curves .chosen .stop').length") == 11  # 0, 1, 2, 5, ..., 500, 600


def test_the_policy_is_as_strict_as_can_be(empty_page: Path) -> None:
    page = empty_page.read_text(encoding="utf-8")
    hashes = [
        base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        for tag in ('script type="module"', "style")
        for found in re.findall(f"<{tag}>(.*?)</{tag.split()[0]}>", page, re.DOTALL)
    ]
    script, style = hashes
    assert (
        f"""content="default-src 'none'; script-src 'sha256-{script}' 'wasm-unsafe-eval'; worker-src blob:; """
        f"""style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'">"""
    ) in page


def test_no_worker_reads_a_blob() -> None:
    """In a page from disk WebKit refuses to (seen in WebKitGTK 2.50.6): what a worker needs, it is given as bytes."""
    worker = Path(play_page).with_name("worker.js").read_text(encoding="utf-8")
    assert "postMessage" in worker and "Blob" not in worker.replace("Not by way of a Blob", "")

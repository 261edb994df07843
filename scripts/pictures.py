"""The pictures of docs/play.md and of the README, the moving one too, taken again: python -m scripts.pictures [CLIMB]

CLIMB is the directory of a climb, by default the latest under runs/. Needs playwright and Chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, FloatRect, ViewportSize, sync_playwright

from rungwise.cli.options import PlayCommand
from rungwise.cli.play import play
from rungwise.experiment.folders import latest
from rungwise.ladder import select
from scripts import common

IMAGES = common.ROOT / "docs/images"
WIDE, PHONE = ViewportSize(width=1100, height=1180), ViewportSize(width=375, height=780)
SHOTS: dict[str, tuple[ViewportSize, Literal["light", "dark"], str]] = {
    "play-climb": (WIDE, "light", "view=climb&rung=rope"),
    "play-predict": (WIDE, "light", "view=predict&rung=gelu&word=isabella"),
    "play-attend": (WIDE, "light", "view=attend&rung=gelu&word=isabella&head=2.1"),
    "play-inside": (WIDE, "light", "view=inside&rung=gelu&word=isabella&at=4&step=1.attention.weights"),
    "play-flow": (WIDE, "light", "view=flow&rung=gelu&word=isabella&at=4"),
    "play-generate": (WIDE, "light", "view=generate&rung=gelu&prefix=ma&t=0.8"),
    "play-train": (WIDE, "light", "view=train&rung=gelu"),
    "play-attend-phone": (PHONE, "dark", "view=attend&rung=gelu&word=isabella&head=2.1"),
    "play-climb-phone": (PHONE, "dark", "view=climb&rung=mlp&with=none"),
}
"""A picture each: its window, light or dark, and the fragment that says what is shown."""
MOVING, RUNGS_SHOWN = ViewportSize(width=760, height=500), select("article")
MS_A_RUNG, MS_AT_THE_TOP, COLOURS = 1300, 4000, 64


def moving(browser: Browser, address: str, path: Path) -> None:
    """The slider climbs while the words turn to names: a frame a rung."""
    frames = []
    for rung in RUNGS_SHOWN:
        page = browser.new_page(viewport=MOVING, color_scheme="light")
        page.goto(f"{address}#view=generate&rung={rung.name}&seed=1")
        page.evaluate("for (const e of document.querySelectorAll('#generate .lead, #generate-draw')) e.hidden = true")
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        frames.append(shot.quantize(COLOURS, dither=Image.Dither.NONE))
        page.close()
    durations = [MS_A_RUNG] * (len(frames) - 1) + [MS_AT_THE_TOP]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def main(climb: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("No Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        play(PlayCommand(runs=(climb,), out=path))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--hide-scrollbars"])
        for name, (window, scheme, fragment) in SHOTS.items():
            page = browser.new_page(viewport=window, color_scheme=scheme)
            page.goto(f"{path.as_uri()}#{fragment}")
            tall = page.evaluate("document.body.offsetHeight")
            clip = FloatRect(x=0, y=0, width=window["width"], height=min(tall, window["height"]))
            page.screenshot(path=IMAGES / f"{name}.png", clip=clip, full_page=True)
            page.close()
        moving(browser, path.as_uri(), IMAGES / "climb.gif")
        page = browser.new_page(viewport=WIDE)
        page.goto((climb / "report.html").resolve().as_uri())
        page.screenshot(path=IMAGES / "report.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else latest())

"""The report in a real browser: nothing is fetched, nothing complains, everything shows, on a phone too."""

import re
import shutil

import pytest

import made_up
from rungwise.report import build as report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    paths = [made_up.write_climb(folder / "article")]
    return report.write(paths, folder / "out")[1].as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


@pytest.fixture
def opened(browser, page_url, request):
    """The page at a width and in a scheme, and everything that it said or asked for while it was opened."""
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_url, wait_until="load")
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    yield page, said, asked
    page.close()


EVERYWHERE = pytest.mark.parametrize(
    "opened", [(width, scheme) for width in (375, 1280) for scheme in ("light", "dark")], indirect=True
)
ON_A_PHONE = pytest.mark.parametrize("opened", [(375, "light")], indirect=True)
LUMINANCE = """(selector) => {
    const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll(selector)].map((element) => {
        const style = getComputedStyle(element);
        const ink = light(element instanceof SVGElement ? style.fill : style.color);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    });
}"""


@EVERYWHERE
def test_nothing_is_said_and_nothing_leaves(opened, page_url):
    _, said, asked = opened
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {page_url}


@EVERYWHERE
def test_the_page_itself_never_scrolls_sideways(opened):
    page, _, _ = opened
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@EVERYWHERE
def test_every_figure_is_drawn(opened):
    page, _, _ = opened
    figures = page.locator("figure svg[role=img]:visible")
    assert figures.count() == 6  # ladder, leave-one-out, gap, two of curves, places
    for i in range(figures.count()):
        box = figures.nth(i).bounding_box()
        assert box["width"] > 300 and box["height"] > 150 and box["x"] + box["width"] <= page.viewport_size["width"]
        size = "(e) => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a"
        for text in figures.nth(i).locator("text").all():  # legible, and inside
            assert text.evaluate(size) >= 10
            inner = text.bounding_box()
            assert inner["x"] >= box["x"] - 2 and inner["x"] + inner["width"] <= box["x"] + box["width"] + 2
        assert figures.nth(i).locator("path, use").count() > 20


@EVERYWHERE
def test_text_and_labels_are_readable_on_their_paper(opened):
    page, _, _ = opened
    for selector in ("p, td, th, dd, dt, .verdict, .asked, .tag, figcaption", "svg text"):
        contrasts = page.evaluate(LUMINANCE, selector)
        assert len(contrasts) > 20 and min(contrasts) >= 4.5  # WCAG 2.2, AA


@ON_A_PHONE
def test_wide_tables_scroll_in_their_own_box(opened):
    page, _, _ = opened
    boxes = "[...document.querySelectorAll('.scroll:has(table)')]"
    assert page.evaluate(f"{boxes}.some(b => b.scrollWidth > b.clientWidth)")
    assert page.evaluate(f"{boxes}.every(b => b.getBoundingClientRect().right <= innerWidth && b.tabIndex === 0)")


@ON_A_PHONE
def test_hostile_words_are_shown_as_they_are(opened):
    page, _, _ = opened
    assert page.locator("bdi", has_text="<script>alert(1)</script>").count() > 0
    assert page.locator("script").count() == 1  # ours


@EVERYWHERE
def test_it_opens_with_its_answer(browser, opened, page_url):
    page, _, _ = opened
    page.reload()
    assert page.locator("details[open]").count() == 0
    inside = page.locator("section#top")
    assert inside.locator("figure svg:visible").count() == 1 and inside.locator("table").count() == 1
    assert inside.locator(".strip li").count() == 12
    assert page.evaluate("document.body.scrollHeight") < 4500
    inside.locator(".strip a").first.click()
    assert page.locator("#findings").get_attribute("open") is not None and page.locator("#width").is_visible()


@pytest.mark.parametrize("opened", [(1280, "light")], indirect=True)
def test_a_figure_is_saved_as_picture_and_as_numbers(opened, tmp_path):
    page, said, _ = opened
    figure = page.locator("figure").first
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<svg"), ("csv", b"rung,test_loss")):
        with page.expect_download() as download:
            figure.locator(f"[data-save={kind}]").click()
        download.value.save_as(tmp_path / "saved")
        content = (tmp_path / "saved").read_bytes()
        assert content.startswith(begins) and download.value.suggested_filename.endswith(f".{kind}")
        assert b"var(" not in content
    assert said == []


@pytest.mark.parametrize("opened", [(1280, "dark")], indirect=True)
def test_printed_it_is_a_handout_of_at_most_four_pages(opened):
    page, _, _ = opened
    pages = re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4"))
    assert 1 <= len(pages) <= 4

"""The page in a browser: what it shows, says and loads, by pointer, keyboard and phone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from report_cases import HOSTILE, write_run, write_study

from hnlmrec.data.interactions import Interactions
from hnlmrec.report.explorer import explorer
from hnlmrec.report.write import write_report
from synthetic import interactions

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# contrast by WCAG 2.1 of the text of an element with what is behind it
CONTRAST = """(selector) => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const [r, g, b] = numbers(text).slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let behind = element;
  while (behind && (numbers(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) {
    behind = behind.parentElement;
  }
  const pair = [light(getComputedStyle(element).color),
                light(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""
TEXTS = (
    "body", ".kind", "a[href]", ".finding .label", ".cautions li", "caption span", "td",
    ".spread", ".status", "figcaption", ".answer .link", ".writer", ".number", ".false", "footer",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a report on a run with hostile titles and a study with all figures."""
    folder = tmp_path_factory.mktemp("page")
    study = write_study(folder / "study", points=["0", "1"])
    write_report([run_folder, study], folder / "out", 100, "hnlmrec report")
    return (folder / "out/report.html").as_uri()


class Visit:
    """A page, what it asked the network for, and what it complained about."""

    def __init__(self, browser: Any, address: str, *, script: str = "", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda line: self.complaints.append(line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        # whatever is not the page itself goes nowhere
        self.page.route(
            "**/*",
            lambda route: route.continue_() if route.request.url == address else route.abort(),
        )
        if script:
            self.page.add_init_script(script)
        self.page.goto(address)

    def ready(self) -> Any:
        self.page.wait_for_selector(".explorer .body:not([hidden])")
        return self.page


@pytest.fixture
def visit(browser: Any, report: str) -> Iterator[Any]:
    visits: list[Visit] = []

    def start(**options: Any) -> Visit:
        visits.append(Visit(browser, report, **options))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()


def test_it_loads_nothing_and_complains_about_nothing(visit: Any, report: str) -> None:
    here = visit()
    page = here.ready()
    page.click(".other")
    page.click("#theme")
    assert here.requests == [report]
    assert here.complaints == []


def test_its_policy_forbids_the_network_and_other_scripts(visit: Any) -> None:
    here = visit()
    page = here.ready()
    refused = page.evaluate("fetch('https://example.org').then(() => false, () => true)")
    assert refused
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.attacked = true'}))"
    )
    assert page.evaluate("window.attacked") is None
    assert sum("Content Security Policy" in line for line in here.complaints) >= 2


def test_a_user_is_found_by_id(visit: Any) -> None:
    page = visit().ready()
    page.fill(".by-user input", "u7")
    page.click(".by-user button[type=submit]")
    data = interactions()
    liked = data.train[[7]].indices
    assert page.inner_text(".answer .title") == "User u7"
    assert f"User u7: {len(liked)} training items" in page.inner_text(".status")
    titles = [*HOSTILE, *(f"Toy {n}" for n in range(len(HOSTILE), data.n_items))]
    shown = page.locator(".answer .lists section").first.locator("li").all_inner_texts()
    assert shown == [titles[item] for item in liked]
    heads = page.locator(".answer thead th").all_inner_texts()
    assert heads[1:] == [
        "Nearest to the synthesised negative", "DNS picks", "MixGCF picks", "AHNS picks",
    ]  # fmt: skip
    assert page.locator(".answer tbody tr").count() == min(5, len(liked))
    assert "profile: template" in page.inner_text(".answer")


def test_held_out_positives_are_marked_wherever_they_are_picked(visit: Any) -> None:
    page, data = visit().ready(), interactions()
    titles = [*HOSTILE, *(f"Toy {n}" for n in range(len(HOSTILE), data.n_items))]
    marked = 0
    for user in range(3):
        page.fill(".by-user input", f"u{user}")
        page.press(".by-user input", "Enter")
        held = {titles[item] for item in (data.valid + data.test)[[user]].indices}
        cells = page.locator(".answer tbody td, .answer tbody .near").all()
        for cell in cells:
            names = cell.locator(".link").all_inner_texts()
            if len(names) == 1:
                assert (cell.locator(".false").count() == 1) == (names[0] in held)
                marked += cell.locator(".false").count()
    assert marked > 0


def test_an_unknown_user_is_said_and_part_of_an_id_lists_those_who_have_it(visit: Any) -> None:
    page = visit().ready()
    page.fill(".by-user input", "nobody")
    page.press(".by-user input", "Enter")
    assert page.inner_text(".status") == "There is no user “nobody”."
    page.fill(".by-user input", "39")
    page.press(".by-user input", "Enter")
    assert "1 id holds it" in page.inner_text(".status")
    page.click(".answer .link")
    assert page.inner_text(".answer .title") == "User u39"


def test_an_item_is_found_by_its_title_and_names_its_users(visit: Any) -> None:
    page, data = visit().ready(), interactions()
    page.fill(".by-item input", "toy 2")
    page.press(".by-item input", "Enter")
    found = page.locator(".answer .link").all_inner_texts()
    assert found == [f"Toy {n}" for n in range(20, 30)]
    page.get_by_role("button", name="Toy 21", exact=True).click()
    who = data.train[:, [21]].nonzero()[0]
    assert page.inner_text(".answer .title") == "Toy 21"
    assert f"in the training part of {len(who)} users" in page.inner_text(".answer")
    assert page.locator(".answer li").all_inner_texts() == [f"u{user}" for user in who][:20]
    page.locator(".answer li .link").first.click()
    assert page.inner_text(".answer .title") == f"User u{who[0]}"


def test_a_point_of_the_map_opens_its_item(visit: Any, run_folder: Path) -> None:
    page, items = visit().ready(), explorer(run_folder)["items"]
    canvas = page.locator("canvas").first
    assert "Map of 30 items: of user u0" in canvas.get_attribute("aria-label")
    canvas.scroll_into_view_if_needed()
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    item = 12
    x = 12 + items["x"][item] / 1000 * (width - 24)
    y = height - 12 - items["y"][item] / 1000 * (height - 24)
    canvas.click(position={"x": x, "y": y})
    assert page.inner_text(".answer .title") == items["titles"][item]


@pytest.mark.parametrize("title", HOSTILE)
def test_titles_are_text_and_never_run(visit: Any, title: str) -> None:
    here = visit()
    page = here.ready()
    page.fill(".by-item input", title)
    page.press(".by-item input", "Enter")
    assert page.inner_text(".answer .title") == title
    assert page.evaluate("window.attacked") is None
    assert page.locator("img").count() == 0
    assert here.complaints == []


def test_all_of_it_works_by_keyboard(visit: Any) -> None:
    page = visit().ready()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    box = page.locator(".skip").bounding_box()
    assert box["x"] >= 0  # it is seen once it has the focus
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.focus(".by-user input")
    page.keyboard.type("u3")
    page.keyboard.press("Enter")
    assert page.inner_text(".answer .title") == "User u3"
    for name in ("Show user", "Another"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == name
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")  # over the other search to what can be scrolled
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    # what was opened has the focus, so that a reader goes on from there
    assert page.evaluate("document.activeElement.className") == "title"
    assert "in the training part of" in page.inner_text(".answer")


def test_it_is_built_for_screen_readers(visit: Any) -> None:
    page = visit().ready()
    assert page.locator("h1").count() == page.locator("main").count() == 1
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((h) => Number(h.tagName[1]))"
    )
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table").count() == page.locator("table > caption").count()
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("svg:not([aria-label]):not([aria-hidden])").count() == 0
    assert page.locator("section:not([aria-label]):not([aria-labelledby])").count() <= 2
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input')].filter((i) => !i.labels.length).length"
    )
    assert unlabelled == 0
    assert page.get_attribute(".status", "role") == "status"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_colour_schemes(visit: Any, scheme: str) -> None:
    page = visit(color_scheme=scheme).ready()
    for user in range(40):  # until a false negative is shown
        page.fill(".by-user input", f"u{user}")
        page.press(".by-user input", "Enter")
        if page.locator(".false").count():
            break
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    for selector in TEXTS:
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    text = page.evaluate("getComputedStyle(document.querySelector('.figures svg text')).fill")
    assert text == page.evaluate("getComputedStyle(document.body).color")


def test_the_toggle_goes_against_the_system_and_back(visit: Any) -> None:
    page = visit(color_scheme="dark").ready()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    page.click("#theme")
    assert page.get_attribute("#theme", "aria-pressed") == "false"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_a_phone_never_scrolls_sideways(visit: Any) -> None:
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True).ready()
    for title in ("", HOSTILE[0]):
        if title:
            page.fill(".by-item input", title)
            page.press(".by-item input", "Enter")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('.figures svg text')]
             .map((text) => text.getBoundingClientRect().height))"""
    )
    assert small >= 8  # pixels from the top of letters to below them


def test_a_browser_that_cannot_unpack_is_told_so(visit: Any) -> None:
    here = visit(script="delete window.DecompressionStream")
    here.page.wait_for_function(
        "document.querySelector('.status').textContent.includes('DecompressionStream')"
    )
    assert here.page.locator(".explorer .body").first.is_hidden()
    assert here.page.locator("table").count() > 3


@pytest.mark.slow
def test_twenty_thousand_users_are_a_small_page_that_opens_fast(
    browser: Any, tmp_path: Path
) -> None:
    n_users, n_items, each = 20_000, 12_000, 12
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), each)
    items = np.minimum((rng.pareto(1.0, len(users)) * 400).astype(int), n_items - 1)
    users, items = np.divmod(np.unique(users * n_items + items), n_items)
    split = rng.choice([0] * 8 + [1, 2], len(users)).astype(np.int8)
    split[np.unique(users, return_index=True)[1]] = 0
    data = Interactions.from_pairs(
        pl.Series([f"A{n:013d}" for n in range(n_users)]),
        pl.Series([f"B{n:09d}" for n in range(n_items)]),
        users.astype(np.int32), items.astype(np.int32), split,
    )  # fmt: skip
    words = np.array([f"{a}{b}" for a in "bdfgklmnprst" for b in "aeiou"])
    titles = [" ".join(rng.choice(words, 12)) for _ in range(n_items)]
    folder = write_run(tmp_path / "run", data, titles=titles)
    write_report([folder], tmp_path / "out", n_users, "hnlmrec report")
    page = tmp_path / "out/report.html"
    assert page.stat().st_size < 15e6
    start = time.perf_counter()
    here = Visit(browser, page.as_uri()).ready()
    assert time.perf_counter() - start < 10
    assert here.locator("*").count() < 5_000  # rows are made when they are asked for
    start = time.perf_counter()
    here.fill(".by-user input", "A0000000019999")
    here.press(".by-user input", "Enter")
    here.wait_for_function("document.querySelector('.answer .title').textContent.includes('19999')")
    assert time.perf_counter() - start < 2
    here.context.close()

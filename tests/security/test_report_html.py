"""The hostile corpus in every text of a report: the page's markup is that of a harmless one."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import hostile_texts

pytest.importorskip("matplotlib", reason="needs the report extra")
sys.path.append(str(Path(__file__).parents[1] / "report"))

from report_cases import study_facts, summary_frame, write_run

from hnlmrec.report.load import load
from hnlmrec.report.write import write_report
from profile_cases import make_interactions

TEXTS = [text[:500] for text in hostile_texts()]
N = len(TEXTS)
HARMLESS = [f"Kettle {n}" for n in range(N)]


class _Markup(HTMLParser):
    """Tags with the names of their attributes, in order; and what is text.

    Figures are drawn differently for different labels: of what is in them the kinds are kept.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, ...]] = []
        self.values: list[str] = []
        self.text: list[str] = []
        self.drawn: set[str] = set()
        self._in_figure = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_figure |= tag == "svg"
        if self._in_figure:
            self.drawn |= {tag, *(name for name, _ in attrs)}
            return
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.values += [value for name, value in attrs if value and name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        self._in_figure &= tag != "svg"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _markup(page: str) -> _Markup:
    parser = _Markup()
    parser.feed(page)
    parser.close()
    return parser


def _assert_alike(hostile: _Markup, harmless: _Markup) -> None:
    assert hostile.tags == harmless.tags
    assert hostile.values == harmless.values
    assert "svg" in hostile.drawn
    assert not hostile.drawn & {
        "script",
        "foreignobject",
        "a",
        "iframe",
        "image",
        "animate",
        "href",
    }
    assert not any(name.startswith("on") for name in hostile.drawn)


def _study(folder: Path, texts: list[str]) -> Path:
    """A study whose title, claim, axis, command, models, points and settings are these texts."""
    names = [f"{n} {text}" for n, text in enumerate(texts)]
    facts = study_facts(
        title=names[0],
        claim=" ".join(names),
        dataset=names[1],
        axis={"label": names[2], "numeric": False, "log": False},
        points=[names[3]],
        models=["dns", names[4]],
        command=names[5],
        versions={names[6]: names[7]},
        config={name: name for name in names},
        seeds=[0, 1],
    )
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(facts))
    summary_frame(facts).write_parquet(folder / "summary.parquet")
    return folder


def _page_of_study(folder: Path, texts: list[str]) -> _Markup:
    write_report([_study(folder / "study", texts)], folder / "out", 0, "report")
    return _markup((folder / "out" / "report.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> _Markup:
    return _page_of_study(tmp_path_factory.mktemp("harmless"), HARMLESS[:9])


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")
@pytest.mark.parametrize("part", range(0, N, 9))
def test_texts_of_a_study_are_text(part: int, harmless: _Markup, tmp_path: Path) -> None:
    texts = TEXTS[part : part + 9]
    texts += TEXTS[: 9 - len(texts)]
    hostile = _page_of_study(tmp_path, texts)
    _assert_alike(hostile, harmless)
    shown = " ".join(" ".join(hostile.text).split())
    assert " ".join(f"0 {texts[0]}".replace("\r", "\n").split()) in shown


def test_texts_of_a_run_are_data_of_the_explorer(tmp_path: Path) -> None:
    """Titles, descriptions, profiles and what stages printed."""
    data = make_interactions(
        [(user, (user * 3 + step) % N, 0) for user in range(N) for step in range(6)]
        + [(user, (user * 3 + 7) % N, 2) for user in range(N)],
        N,
        N,
    )
    pages = []
    for name, texts in (("hostile", TEXTS), ("harmless", HARMLESS)):
        lines = [f"warning: {text}" for text in texts]
        run = write_run(tmp_path / name / "run", data, titles=texts, lines=lines, fallbacks=3)
        write_report([run], tmp_path / f"{name}-out", N, "report")
        pages.append((tmp_path / f"{name}-out" / "report.html").read_text("utf-8"))
    hostile, harmless = map(_markup, pages)
    _assert_alike(hostile, harmless)
    # all of them are there, packed into letters that mean nothing to a parser
    packed = next(text for text in hostile.text if text.strip().startswith("H4sI")).strip()
    content = json.loads(gzip.decompress(base64.b64decode(packed)))
    titles = set(content["items"]["titles"])
    assert sum(text[:160] in titles for text in TEXTS) > 0.9 * N
    assert load(tmp_path / "hostile" / "run").notes

"""How figures look: colours, markers, sizes; and figures as bytes and as SVG inside a page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.4, 2.5  # inches; a column of most proceedings
FORMATS = ("png", "svg", "pdf")
INK, GRID = "#1b1f24", "#d4d8dd"
# after Okabe and Ito, "Color Universal Design" (2008), darkened where white paper needs it
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0529a", "#a87900", "#3d9fd0")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)))
_COORDINATES = {"d", "x", "y", "transform"}
_REFERENCE = re.compile(r'(?:href="|url\()#([^")]+)')
_LONG_DECIMAL = re.compile(r"-?\d+\.\d{3,}")
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# the page has a colour for each of these in light and in dark
_THEMED = {INK: "currentColor", GRID: "var(--grid)"} | {
    colour: f"var(--series-{n})" for n, colour in enumerate(COLOURS, 1)
}
_RC = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "font.family": "sans-serif",
    "font.size": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "text.color": INK,
    # names of models and data may hold a dollar sign
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 7,
    "ytick.color": INK,
    "ytick.labelsize": 7,
}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of a model, the same in all figures of a report."""

    colour: str
    marker: str
    line: Any


def looks(models: list[str], reference: str) -> dict[str, Look]:
    """A look for each model; the reference is drawn in the colour of text."""
    found, n = {}, 0
    for model in models:
        if model == reference:
            found[model] = Look(INK, "o", "-")
            continue
        place = n + 1  # the first marker is the reference's
        line = _LINES[n // len(COLOURS) % len(_LINES)]
        found[model] = Look(COLOURS[n % len(COLOURS)], _MARKERS[place % len(_MARKERS)], line)
        n += 1
    return found


def settings(*, as_text: bool = False) -> dict[Any, Any]:
    """Settings of matplotlib; ``as_text`` leaves letters in an SVG to the reader's fonts."""
    return _RC | {"svg.fonttype": "none" if as_text else "path", "svg.hashsalt": "hnlmrec"}


def as_bytes(figure: Figure, form: str) -> bytes:
    """A figure as a file of one of `FORMATS`, the same bytes for the same figure."""
    out = io.BytesIO()
    # a file that says when it was made is another one each time
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    figure.savefig(out, format=form, dpi=300, metadata=dates[form])
    return _wellformed(out.getvalue()) if form == "svg" else out.getvalue()


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """A figure as an element of a page.

    Colours become those of the page's theme, styles become attributes, as the page's policy
    allows no styles in elements, and ids begin with ``name``, as a page has many figures.
    """
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = _wellformed(out.getvalue())
    root, used = ET.fromstring(text), set(_REFERENCE.findall(text.decode()))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _shorten(element, used)
        _plain(element, name)
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.attrib |= {
        "role": "img",
        "aria-label": alt,
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    return ET.tostring(root, encoding="unicode")


def _wellformed(svg: bytes) -> bytes:
    """Leave out the control characters of labels, which XML cannot hold."""
    return _CONTROL.sub(b"", svg)


def _plain(element: ET.Element, name: str) -> None:
    """Rewrite the styles, colours and ids of one element."""
    attributes = element.attrib
    for part in attributes.pop("style", "").split(";"):
        key, colon, value = (piece.strip() for piece in part.partition(":"))
        if key == "font":
            if size := re.search(r"([\d.]+)px", value):
                attributes["font-size"] = size.group(1)
        elif colon and key != "font-family":
            attributes[key] = value
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{name}-{value}"
        elif key == f"{{{_LINK}}}href" or value.startswith("url(#"):
            attributes[key] = value.replace("#", f"#{name}-", 1)
        elif value in _THEMED:
            attributes[key] = _THEMED[value]


def _shorten(element: ET.Element, used: set[str]) -> None:
    """Leave out ids without use, blanks, and what the eye cannot see of coordinates."""
    if element.get("id") not in used:
        element.attrib.pop("id", None)
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    for key in _COORDINATES & element.attrib.keys():
        rounded = _LONG_DECIMAL.sub(
            lambda match: f"{float(match.group()):.2f}".rstrip("0").rstrip("."),
            element.attrib[key],
        )
        element.attrib[key] = " ".join(rounded.split())
    if "d" in element.attrib:
        element.attrib["d"] = re.sub(" ?([A-Za-z]) ?", r"\1", element.attrib["d"])
    if element.text and element.text.isspace():
        element.text = None
    if element.tail and element.tail.isspace():
        element.tail = None

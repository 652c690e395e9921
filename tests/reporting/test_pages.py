from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest
from matplotlib.figure import Figure

from mmreg_lightning.reporting import pages
from mmreg_lightning.reporting.pages import Plot, Section, figure_png, html_page, markdown_page, render, write_page

EVIL = "</script><script>alert('{{ title }}')</script>&"
SECTIONS: list[Section] = [
    ("A title", "A lead."),
    ("Numbers", [["", "Dice"], ["MIND", "0.5"], ["learned", "0.6"]]),
    ("", Plot("plot.png", b"PNG", "A plot")),
    ("End", "The end."),
]


class Outline(HTMLParser):
    """The tags of a page in order, each with its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, ""))
        self.attributes[tag] = dict(attrs)

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1] = (self.found[-1][0], self.found[-1][1] + data.strip())


def test_a_document_in_html_has_every_section() -> None:
    outline = Outline(html_page("the title", SECTIONS))
    body = outline.found[[tag for tag, _ in outline.found].index("body") + 1 :]
    assert ("title", "the title") in outline.found
    assert [(tag, text) for tag, text in body if tag in ("h1", "h2", "p", "th", "td", "img", "figcaption")] == [
        ("h1", "A title"),
        ("p", "A lead."),
        ("h2", "Numbers"),
        *(("th", text) for text in ("", "Dice", "MIND")),
        ("td", "0.5"),
        ("th", "learned"),
        ("td", "0.6"),
        ("img", ""),
        ("figcaption", "A plot"),
        ("h2", "End"),
        ("p", "The end."),
    ]
    image = outline.attributes["img"]
    assert image["alt"] == "A plot"
    assert image["src"] == f"data:image/png;base64,{base64.b64encode(b'PNG').decode()}"


def test_a_document_in_markdown_has_every_section() -> None:
    assert markdown_page(SECTIONS) == (
        "# A title\n\nA lead.\n\n## Numbers\n\n|  | Dice |\n|---|---|\n| MIND | 0.5 |\n| learned | 0.6 |\n\n"
        "![A plot](plot.png)\n\n## End\n\nThe end.\n"
    )


def test_a_page_is_written_with_its_plots(tmp_path: Path) -> None:
    write_page(tmp_path, "t", SECTIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plot.png", "report.html", "report.md"]
    assert (tmp_path / "plot.png").read_bytes() == b"PNG"
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == markdown_page(SECTIONS)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html_page("t", SECTIONS)


def test_text_is_text() -> None:
    sections: list[Section] = [(EVIL, EVIL), (EVIL, [[EVIL], [EVIL], [EVIL]]), ("", Plot("a.png", b"", f'" {EVIL}'))]
    page = html_page(EVIL, sections)
    assert "<script" not in page and "</script" not in page
    outline = Outline(page)
    texts = {tag: text for tag, text in outline.found if text}
    for tag in ("title", "h1", "h2", "p", "th"):
        assert texts[tag] == EVIL, tag
    assert outline.attributes["img"]["alt"] == texts["figcaption"] == f'" {EVIL}'


def test_data_cannot_end_the_script_element() -> None:
    data = {"name": EVIL, "values": [1.5, None, "é"]}
    colours = {f"{name}_colour": "#fff" for name in ("fixed", "moving", "fixed_mask", "moving_mask")}
    values = {"title": "t", "notes": [], "tables": [], **colours}
    for template in ("pair_page.html", "feature_page.html"):
        page = render(template, data=data, **values)
        match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
        assert match is not None and "<" not in match[1]
        assert json.loads(match[1]) == data


def test_data_must_be_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        render("feature_page.html", title="t", notes=[], data={"x": float("nan")})


def test_a_template_gets_all_that_it_refers_to() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("document.html", sections=[])


def test_the_palette_has_eight_different_colours() -> None:
    assert len(set(pages.COLOURS)) == 8 and all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in pages.COLOURS)


def test_a_figure_becomes_a_png() -> None:
    png = figure_png(Figure(figsize=(2, 1)))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (220, 110)

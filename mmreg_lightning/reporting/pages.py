"""Pages of headings, paragraphs, tables and plots, as Markdown and as self-contained HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmreg_lightning.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe and Ito's palette, whose colours are told apart with every kind of colour vision."""
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}img{max-width:100%}code,pre{background:#f3f3f3;padding:.1em .3em}
figure{margin:1.5em 0}figcaption{color:#555}"""

Table = list[list[str]]
"""Rows of text, the first one the header."""


class Plot(NamedTuple):
    """A picture: file name in Markdown, which lies beside it, PNG content, and what it shows."""

    name: str
    png: bytes
    caption: str


Section = tuple[str, "str | Table | Plot"]
"""A heading and what stands below it; an empty heading goes on with the section before."""


def figure_png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def markdown_table(table: Table) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]])


def markdown_page(sections: Sequence[Section]) -> str:
    """A page in Markdown; the first heading is its title."""
    parts = []
    for level, (heading, content) in enumerate(sections):
        if heading:
            parts.append(f"{'#' if level == 0 else '##'} {heading}")
        if isinstance(content, str):
            parts.append(content)
        elif isinstance(content, Plot):
            parts.append(f"![{content.caption}]({content.name})")
        else:
            parts.append(markdown_table(content))
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page as report.md and report.html, and its plots beside them."""
    for _, content in sections:
        if isinstance(content, Plot):
            with atomic_path(folder / content.name) as temporary:
                temporary.write_bytes(content.png)
    write_text(folder / "report.md", markdown_page(sections))
    write_text(folder / "report.html", html_page(title, sections))


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The same page in HTML, with everything in it."""
    parts = []
    for level, (heading, content) in enumerate(sections):
        if heading:
            tag = "h1" if level == 0 else "h2"
            parts.append(f"<{tag}>{html.escape(heading)}</{tag}>")
        if isinstance(content, str):
            parts.append(f"<p>{html.escape(content)}</p>")
        elif isinstance(content, Plot):
            data, text = base64.b64encode(content.png).decode(), html.escape(content.caption)
            image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
            parts.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")
        else:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in content[0])
            rows = (f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in content[1:])
            parts.append(f"<table><tr>{head}</tr>{''.join(rows)}</table>")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style>{''.join(parts)}</html>"
    )

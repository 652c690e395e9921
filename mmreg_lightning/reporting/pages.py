"""Documents of headings, paragraphs, tables and plots, as Markdown and HTML, and the templates of all HTML pages."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmreg_lightning.files import atomic_path, write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe and Ito's palette, whose colours can be told apart with every kind of colour vision."""

Table = list[list[str]]
"""Rows of text. The first row is the header."""


class Plot(NamedTuple):
    """A PNG image, the file name under which it lies beside the Markdown, and its caption."""

    name: str
    png: bytes
    caption: str

    @property
    def data_url(self) -> str:
        """The image as a URL that holds its content, for HTML without further files."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


Section = tuple[str, "str | Table | Plot"]
"""A heading and its content. An empty heading continues the section before."""


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
    """A document in Markdown. The first heading is its title."""
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


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The same document as one HTML file, which holds its plots. All text is plain text."""
    return render("document.html", title=title, sections=sections)


def write_page(folder: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a document as report.md and report.html, and its plots beside them."""
    for _, content in sections:
        if isinstance(content, Plot):
            with atomic_path(folder / content.name) as temporary:
                temporary.write_bytes(content.png)
    write_text(folder / "report.md", markdown_page(sections))
    write_text(folder / "report.html", html_page(title, sections))


def render(template: str, **values: Any) -> str:
    """Fill in a template of the folder ``templates``.

    Text is escaped. The filter ``tojson`` gives JSON that is safe inside a script element.

    Args:
        template: name of the file.
        values: what the template refers to, by name.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mmreg_lightning.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment

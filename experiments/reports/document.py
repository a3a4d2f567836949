"""A report as a list of blocks; the blocks as Markdown, and as one HTML page."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rpex_jax import results

STYLE = Path(__file__).with_name("document.css")
LONG = 40  # letters; cells that are longer break their lines


class Heading(NamedTuple):
    """The title of a section; level 1 is the page's."""

    text: str
    level: int = 2


class Bullets(NamedTuple):
    """A list of sentences."""

    items: Sequence[str]


class Table(NamedTuple):
    """Numbers as text; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Figure(NamedTuple):
    """A plot: a PNG file for Markdown; panels, if there are any, for the page."""

    name: str
    file: Path
    panels: Sequence[str] = ()  # SVG
    legend: Mapping[str, str] = MappingProxyType({})  # entry: colour


class Details(NamedTuple):
    """What is shown on demand, on the page alone: text as it stands, or blocks."""

    summary: str
    content: "str | Sequence[Block]"


Block = str | Heading | Bullets | Table | Figure | Details  # a str is a paragraph


def sentence(text: str) -> str:
    """With a capital and a full stop; all other letters stay, and so does nothing."""
    return text and f"{text[0].upper()}{text[1:]}."


def to_markdown(blocks: Iterable[Block], folder: Path) -> str:
    """Markdown that lies in `folder`; without what is shown on demand."""
    texts = []
    for block in blocks:
        match block:
            case Heading(text, level):
                texts.append(f"{'#' * level} {text}")
            case Bullets(items):
                texts.append("\n".join(f"- {item}" for item in items))
            case Table(header, rows):
                texts.append(results.markdown_table(header, rows))
            case Figure(name, file):
                texts.append(f"![{name}]({file.relative_to(folder).as_posix()})")
            case str(text):
                texts.append(text)
    return "\n\n".join(texts) + "\n"


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """One page that needs no other file and no network."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text()}</style>\n"
        f"</head>\n<body>\n<main>\n{_html(blocks)}\n</main>\n</body>\n</html>\n"
    )


def _html(blocks: Iterable[Block]) -> str:
    return "\n".join(map(_block_html, blocks))


def _block_html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Bullets(items):
            lines = "".join(f"<li>{_inline(item)}</li>" for item in items)
            return f"<ul>{lines}</ul>"
        case Table(header, rows):
            head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
            body = "\n".join(
                f'<tr><th scope="row">{_inline(first)}</th>'
                + "".join(map(_cell_html, cells))
                + "</tr>"
                for first, *cells in rows
            )
            return (
                '<div class="scroll" tabindex="0"><table>\n'
                f"<thead><tr>{head}</tr></thead>\n"
                f"<tbody>\n{body}\n</tbody></table></div>"
            )
        case Figure():
            return _figure_html(block)
        case Details(summary, content):
            if isinstance(content, str):
                inner = f'<pre tabindex="0">{escape(content)}</pre>'
            else:
                inner = _html(content)
            return f"<details><summary>{_inline(summary)}</summary>{inner}</details>"
        case str(text):
            return f"<p>{_inline(text)}</p>"


def _cell_html(cell: str) -> str:
    kind = ' class="text"' if len(cell) > LONG else ""
    return f"<td{kind}>{_inline(cell)}</td>"


def _figure_html(figure: Figure) -> str:
    name = _inline(figure.name)
    if not figure.panels:
        data = base64.b64encode(figure.file.read_bytes()).decode()
        image = (
            f'<img src="data:image/png;base64,{data}" '
            f'alt="{escape(figure.name, quote=True)}">'
        )
        return f'<figure><div class="scroll">{image}</div></figure>'
    entries = "".join(
        f'<li><span style="background:{escape(colour, quote=True)}"></span>'
        f"{_inline(entry)}</li>"
        for entry, colour in figure.legend.items()
    )
    legend = f'<ul class="legend">{entries}</ul>' if entries else ""
    panels = "\n".join(f'<div class="panel">{svg}</div>' for svg in figure.panels)
    return (
        f"<figure><figcaption>{name}</figcaption>{legend}\n"
        f'<div class="panels">\n{panels}\n</div></figure>'
    )


def _inline(text: str) -> str:
    """Escaped; Markdown's **strong** and *emphasis* are kept."""
    text = re.sub(r"\*\*(\S.*?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"\*(\w.*?\w)\*", r"<em>\1</em>", text)

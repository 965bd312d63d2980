"""A report as Markdown, as LaTeX or as one page of HTML."""

import base64
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: its heading.
        header: names of the columns of its table.
        rows: the cells.
        notes: paragraphs below the table.
        figures: PNG files, each beside a PDF of the same name.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    figures: Sequence[Path]


def to_markdown(sections: Sequence[Section]) -> str:
    """Writes tables with pipes; figures are linked."""
    parts = []
    for section in sections:
        rule = ["---", *("---:" for _ in section.header[1:])]
        lines = [
            "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
            for row in (section.header, rule, *section.rows)
        ]
        parts += [f"## {section.title}", "\n".join(lines), *section.notes]
        parts += [f"![{file.stem}](figures/{file.name})" for file in section.figures]
    return "\n\n".join(parts) + "\n"


def to_latex(sections: Sequence[Section]) -> str:
    """Writes tables for the package booktabs, figures for graphicx."""
    parts = ["% \\usepackage{booktabs,graphicx}"]
    for section in sections:
        columns = "l" + "r" * (len(section.header) - 1)
        head, *rows = (
            " & ".join(map(_latex, row)) + r" \\"
            for row in (section.header, *section.rows)
        )
        table = (
            [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}"]
            + [r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
            + [r"\end{tabular}", rf"\caption{{{_latex(section.title)}}}"]
            + [r"\end{table}"]
        )
        parts += ["\n".join(table), *map(_latex, section.notes)]
        parts += [
            rf"\includegraphics[width=\linewidth]{{figures/{file.stem}.pdf}}"
            for file in section.figures
        ]
    return "\n\n".join(parts) + "\n"


def to_html(sections: Sequence[Section]) -> str:
    """Writes one page that needs no other file."""
    parts = [_HEAD]
    for section in sections:
        head, *rows = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in [("th", section.header), *(("td", r) for r in section.rows)]
        )
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        parts += [
            f"<h2>{html.escape(section.title)}</h2>",
            f"<div><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>",
            *(f"<p>{html.escape(note)}</p>" for note in section.notes),
            *map(_embedded, section.figures),
        ]
    return "\n".join([*parts, "</main></body></html>\n"])


FORMATS: dict[str, tuple[str, Callable[[Sequence[Section]], str]]] = {
    "markdown": ("report.md", to_markdown),
    "latex": ("report.tex", to_latex),
    "html": ("report.html", to_html),
}

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>gradstab report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem; }
main { max-width: 60rem; margin: auto; }
div { overflow-x: auto; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
td { white-space: nowrap; }
th { vertical-align: bottom; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #222; }
img { max-width: min(100%, 46rem); margin: 1rem 0; }
p { margin: .4rem 0; color: #444; }
</style></head><body><main><h1>gradstab report</h1>"""
_ESCAPES = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}


def _latex(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _embedded(file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img alt="{html.escape(file.stem)}" src="data:image/png;base64,{data}">'

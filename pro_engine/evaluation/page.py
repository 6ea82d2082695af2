"""The page for people: one HTML file that needs no other, no network, and no script to be read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from pro_engine.evaluation.catalog import RUN_FIGURES, SCORES, Figure
from pro_engine.evaluation.run import ItemReport
from pro_engine.evaluation.summary import EvalReport, Row

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #667; --line: #d5d9e0; --band: #f4f6f9;
  --good: #0a7d33; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #15181c; --soft: #9aa3af; --line: #343a43;
  --band: #1e2329; --good: #5fd38a; --bad: #ff8a80; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 110rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { margin: 0 0 .2rem; font-size: 1.5rem } h2 { margin: 2rem 0 .4rem; font-size: 1.2rem }
h3 { margin: 0; font-size: 1rem }
p { margin: .3rem 0; max-width: 60rem } .soft, .coarse { color: var(--soft) }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { background: var(--band); font-weight: 600; position: sticky; top: 0 }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper) }
th:first-child { background: var(--band) } tr.total td { font-weight: 600; background: var(--band) }
tbody tr:last-child td { border-bottom: 0 } td .coarse { display: block; font-size: .8rem; line-height: 1.1 }
.better { color: var(--good) } .worse { color: var(--bad) }
.sorts th { cursor: pointer } th[aria-sort=ascending]::after { content: " ▲" }
th[aria-sort=descending]::after { content: " ▼" }
section { margin: 1rem 0; padding: .8rem; border: 1px solid var(--line); border-radius: 6px }
.panels { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: .5rem } figure { margin: 0; flex: 0 1 auto }
figure img { display: block; max-width: 100%; height: auto } figcaption { font-size: .8rem; color: var(--soft) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .4rem 0 } dt { font-weight: 600 }
dd { margin: 0 } a { color: inherit }
"""

_SORTING = """
document.getElementById("sorting").hidden = false;
for (const table of document.querySelectorAll("table.items")) {
  table.classList.add("sorts");
  table.tHead.rows[0].querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.value ?? "";
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
}
"""


def make_page(report: EvalReport) -> str:
    """The HTML of a report: what was run, means by group, every item, pictures, and what was skipped.

    A cell has the refined figure and below it the coarse one, green or red as the refined map is better or worse.
    """
    rows = report.rows()
    scores = _used(SCORES, [item.refined for item in report.items])
    run = _used(RUN_FIGURES, [item.run for item in report.items])
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Depth evaluation</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        "<h1>Depth evaluation</h1>",
        f"<p>{escape(_about(report))}</p>",
        *_warning(report),
        "<h2>Means</h2>",
        '<p class="soft">Large: the refined map. Small: the coarse map, green where refining helped, red where it did '
        "harm. A figure is averaged over the items that have it. Groups count alike in a row of groups.</p>",
        _means_table(rows, scores, _used(run, [row.run for row in rows])),
        *_seams(report),
        "<h2>Items</h2>",
        '<p class="soft" id="sorting" hidden>Click a column title to sort by it.</p>',
        _items_table(report.items, scores, run),
        "<h2>Pictures</h2>",
        '<p class="soft">Near is red, far is blue; fitted maps share the colours of the truth. Errors go from black '
        "(none) to yellow (half of the distance and more). Grey is unknown.</p>",
        *(_pictures(item, place, scores) for place, item in enumerate(report.items) if item.panels),
        *_skipped(report),
        "<h2>Figures</h2>",
        _legend({**scores, **run}),
        f"<script>{_SORTING}</script></body></html>",
    ]
    return "\n".join(parts)


def _about(report: EvalReport) -> str:
    facts = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in report.about.items() if value is not None)
    return f"{facts}. pro-engine {report.version}."


def _warning(report: EvalReport) -> list[str]:
    texts = []
    if report.stopped:
        texts.append("The run was stopped; what follows is what was done by then.")
    if report.skipped:
        texts.append(f"{len(report.skipped)} items have no scores, see the end of the page.")
    return [f'<p class="worse">{text}</p>' for text in texts]


def _used(figures: Mapping[str, Figure], found: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    return {name: figure for name, figure in figures.items() if any(name in scores for scores in found)}


def _heads(names: Sequence[str], figures: Mapping[str, Figure]) -> str:
    arrows = {True: " ↑", False: " ↓", None: ""}
    cells = [f'<th scope="col">{name}</th>' for name in names]
    cells += [
        f'<th scope="col" title="{escape(figure.text)}">{escape(figure.title)}{arrows[figure.higher]}</th>'
        for figure in figures.values()
    ]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _cell(name: str, figure: Figure, refined: Mapping[str, float], coarse: Mapping[str, float]) -> str:
    """Refined figure over coarse one; empty where there is none."""
    value, before = refined.get(name), coarse.get(name)
    if value is None:
        return "<td></td>"
    text = f"{value:.{figure.digits}f}"
    if before is not None:
        step = 0.5 * 10**-figure.digits
        gain = (value - before) * (1 if figure.higher else -1)
        verdict = " better" if gain > step else " worse" if gain < -step else ""
        text += f'<span class="coarse{verdict}">{before:.{figure.digits}f}</span>'
    return f'<td data-value="{value:.6g}">{text}</td>'


def _cells(
    scores: Mapping[str, Figure], run: Mapping[str, Figure], refined: Mapping[str, float], coarse: Mapping[str, float],
    made: Mapping[str, float],
) -> str:  # fmt: skip
    cells = [_cell(name, figure, refined, coarse) for name, figure in scores.items()]
    return "".join(cells + [_cell(name, figure, made, {}) for name, figure in run.items()])


def _means_table(rows: Sequence[Row], scores: Mapping[str, Figure], run: Mapping[str, Figure]) -> str:
    lines = []
    for row in rows:
        kind = ' class="total"' if " / " not in row.label else ""
        cells = _cells(scores, run, row.refined, row.coarse, row.run)
        lines.append(f"<tr{kind}><td>{escape(row.label)}</td><td>{row.count}</td>{cells}</tr>")
    head = _heads(("group", "n"), {**scores, **run})
    return f'<div class="wide"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def _items_table(items: Sequence[ItemReport], scores: Mapping[str, Figure], run: Mapping[str, Figure]) -> str:
    lines = []
    for place, item in enumerate(items):
        name = escape(item.name)
        link = f'<a href="#item-{place}">{name}</a>' if item.panels else name
        grid = "" if item.tiles is None else f"{item.tiles[0]}x{item.tiles[1]}"
        facts = (item.group, f"{item.width}x{item.height}", grid)
        keys = (item.group, str(item.width * item.height), str(item.tiles[0] * item.tiles[1]) if item.tiles else "")
        told = "".join(
            f'<td data-value="{escape(key)}">{escape(fact)}</td>' for fact, key in zip(facts, keys, strict=True)
        )
        cells = _cells(scores, run, item.refined, item.coarse, item.run)
        lines.append(f'<tr><td data-value="{name}">{link}</td>{told}{cells}</tr>')
    head = _heads(("item", "group", "size", "patches"), {**scores, **run})
    return f'<div class="wide"><table class="items">{head}<tbody>{"".join(lines)}</tbody></table></div>'


def _seams(report: EvalReport) -> list[str]:
    seams = report.seams()
    if not seams:
        return []
    return [
        f"<p>Patch borders over {seams['pictures']:.0f} pictures: jumps are {seams['ratio_total']:.3f} times those in "
        f"the middle of patches in sum, {seams['ratio_median']:.3f} times in the median picture.</p>"
    ]


def _pictures(item: ItemReport, place: int, scores: Mapping[str, Figure]) -> str:
    told = [
        f"{figure.title} {item.refined[name]:.{figure.digits}f}"
        + (f" ({item.coarse[name]:.{figure.digits}f})" if name in item.coarse else "")
        for name, figure in scores.items()
        if name in item.refined
    ]
    figures = "".join(
        f'<figure><img alt="{escape(panel.title)} of {escape(item.name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(panel.jpeg).decode("ascii")}">'
        f"<figcaption>{escape(panel.title)}</figcaption></figure>"
        for panel in item.panels
    )
    notes = "".join(f'<p class="worse">{escape(note)}</p>' for note in item.notes)
    return (
        f'<section id="item-{place}"><h3>{escape(item.name)}</h3><p class="soft">{escape(", ".join(told))}</p>{notes}'
        f'<div class="panels">{figures}</div></section>'
    )


def _skipped(report: EvalReport) -> list[str]:
    if not report.skipped:
        return []
    lines = "".join(f"<dt>{escape(skipped.name)}</dt><dd>{escape(skipped.error)}</dd>" for skipped in report.skipped)
    return [f"<h2>Without scores</h2><dl>{lines}</dl>"]


def _legend(figures: Mapping[str, Figure]) -> str:
    lines = "".join(f"<dt>{escape(f.title)}</dt><dd>{escape(f.text)}</dd>" for f in figures.values())
    return f"<dl>{lines}</dl>"

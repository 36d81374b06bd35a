"""The recovery kit's pages: one for each holder of a share, and the instructions. Each as HTML for
the printer and as plain text; the words on them are read back by `--kit`."""

import json
from collections.abc import Sequence
from html import escape

from msgspec import Struct

from drctl import __version__
from drctl.codec.kit import Kit

_COLUMNS = 3
_STYLE = """
@page { size: A4; margin: 18mm }
* { box-sizing: border-box }
body { font: 11pt/1.45 "DejaVu Sans", Arial, sans-serif; color: #111; max-width: 174mm;
       margin: 10mm auto }
h1 { font-size: 19pt; margin: 0 0 2mm } h2 { font-size: 13pt; margin: 7mm 0 2mm }
.lead { font-size: 12.5pt; margin: 0 0 5mm }
.words { columns: 3; column-gap: 8mm; border: 1.5pt solid #111; padding: 5mm; margin: 5mm 0;
         font: 13pt/1.75 "DejaVu Sans Mono", monospace; list-style: none }
.words li { break-inside: avoid } .words b { display: inline-block; width: 3.2em; color: #666;
         font-weight: normal; text-align: right; margin-right: .6em }
table { border-collapse: collapse; width: 100%; margin: 3mm 0 }
td, th { border: .5pt solid #888; padding: 1.8mm 2.5mm; text-align: left; vertical-align: top }
th { background: #eee } pre, code { font: 9.5pt/1.4 "DejaVu Sans Mono", monospace }
pre { background: #f4f4f4; padding: 3mm; white-space: pre-wrap; overflow-wrap: anywhere }
.secret { border-left: 3mm solid #b00020; padding: 1mm 0 1mm 4mm }
.fill { display: inline-block; border-bottom: .7pt solid #111; min-width: 60mm }
.small { font-size: 9.5pt; color: #444 }
"""


class Place(Struct, frozen=True):
    """A repository. `line` is what the plan says of it, without credentials."""

    name: str
    where: str
    line: dict[str, object]
    is_copy: bool


def pages(kit: Kit, shares: Sequence[str], places: Sequence[Place]) -> dict[str, str]:
    """Every page's text by the name of its file."""
    found = {"instructions.html": _instructions_html(kit, places)}
    found["instructions.txt"] = _instructions_text(kit, places)
    for number, share in enumerate(shares, 1):
        found[f"share-{number}.html"] = _share_html(kit, number, share.split(), places)
        found[f"share-{number}.txt"] = _share_text(kit, number, share.split(), places)
    return found


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n{body}\n</html>\n"
    )


# -- a share --------------------------------------------------------------------------------------


def _day(kit: Kit) -> str:
    return escape(kit.made_at[:10])


def _opens(kit: Kit) -> str:
    others = kit.need - 1
    if not others:
        return "These words alone open every backup."
    return f"Together with {others} other share{'s' * (others > 1)} it opens every backup."


def _share_html(kit: Kit, number: int, words: list[str], places: Sequence[Place]) -> str:
    items = "\n".join(f"<li><b>{n}.</b> {word}</li>" for n, word in enumerate(words, 1))
    where = "<br>".join(f"<code>{escape(p.where)}</code>" for p in _copies_first(places))
    title = f"{kit.name}: share {number} of {kit.of}"
    body = f"""<h1>Recovery kit {escape(kit.name)}</h1>
<p class="lead">Share <strong>{number}</strong> of {kit.of}; any {kit.need} of them restore.
Made {_day(kit)}.</p>
<p class="secret"><strong>Secret.</strong> {_opens(kit)} Keep it where neither fire nor thief takes
two of them at once. Never photograph, mail or store it in a computer.</p>
<ol class="words">
{items}
</ol>
<table>
<tr><th>Held by</th><td><span class="fill">&nbsp;</span></td></tr>
<tr><th>Backups lie at</th><td>{where}</td></tr>
<tr><th>Opens</th><td>repository <code>{kit.repository[:16]}</code>,
as recipient <code>{kit.fingerprint}</code></td></tr>
</table>
<p>You are asked for these words when production is lost, and once in a while in a drill. The first
four letters of each word are enough. Whoever restores has the instructions; without them:
install drctl, and run <code>drctl restore --kit kit.json ASSET --to DIRECTORY</code>.</p>
<p class="small">The words follow SLIP-39, without a passphrase.</p>"""
    return _html(title, body)


def _share_text(kit: Kit, number: int, words: list[str], places: Sequence[Place]) -> str:
    rows = -(-len(words) // _COLUMNS)
    cells = [f"{n:>3}. {word:<12}" for n, word in enumerate(words, 1)]
    grid = ["".join(cells[row::rows]).rstrip() for row in range(rows)]
    return "\n".join(
        [
            f"RECOVERY KIT {kit.name}",
            f"Share {number} of {kit.of}; any {kit.need} of them restore. Made {_day(kit)}",
            "",
            f"SECRET: {_opens(kit)}",
            "",
            *grid,
            "",
            *(f"Backups lie at: {place.where}" for place in _copies_first(places)),
            f"Repository {kit.repository[:16]}, recipient {kit.fingerprint}. Words: SLIP-39.",
            "The first four letters of each word are enough.",
            "",
        ]
    )


# -- the instructions -----------------------------------------------------------------------------


def _copies_first(places: Sequence[Place]) -> list[Place]:
    return sorted(places, key=lambda place: not place.is_copy)


_INSTALL = (
    f"Install drctl {__version__} from the copy that you keep beside this kit, not from an index"
    " by its name alone: whoever took that name there would be given your words."
)


def _steps(kit: Kit, places: Sequence[Place]) -> list[tuple[str, str]]:
    """(what to do, what to type)."""
    holders = f"{kit.need} holder{'s' * (kit.need > 1)}"
    start = f"Take any Linux machine with Python 3.11 or newer. {_reach(kit, places)}"
    fetch = f"Fetch kit.json and {holders}. Their words are asked for; or name pages with --kit."
    last = (
        "Afterwards give the new host a writer credential, and make a new kit: this one was seen."
    )
    return [
        (f"{start.strip()} {_INSTALL}", "pip install ./drctl"),
        (fetch, "drctl kit test --kit kit.json"),
        ("See what there is.", "drctl snapshots --kit kit.json"),
        (
            "Put it back: one asset, or all in the order of the plan.",
            "drctl restore ASSET --to DIRECTORY --kit kit.json\ndrctl recover --kit kit.json",
        ),
        (
            "If a thief had the host's keys: read the bucket as it was before he came.",
            "drctl snapshots --kit kit.json --as-of '2026-03-01 12:00'",
        ),
        (last, "drctl key credential FILE --kit kit.json"),
    ]


def _reach(kit: Kit, places: Sequence[Place]) -> str:
    if kit.sealed:
        return "The storage's credentials are sealed in kit.json: nothing else is needed."
    if not any("s3" in place.line for place in places):
        return ""
    return (
        "Have credentials for the storage ready, as the plan names them, or as AWS_ACCESS_KEY_ID "
        "and AWS_SECRET_ACCESS_KEY."
    )


def _paper_plan(places: Sequence[Place]) -> str:
    """Enough of a plan to restore with, short enough to be typed."""
    lines = ["version: 1", "name: recovery"]
    sites = sorted({str(place.line["site"]) for place in places})
    lines += ["sites:", *(f"  {site}: {{failure_domain: {site}}}" for site in sites)]
    lines.append("repositories:")
    lines += [f"  {p.name}: {json.dumps(p.line)}" for p in _copies_first(places)]
    lines += ["assets:", "  any: {files: {paths: [/any]}}"]
    return "\n".join(lines)


def _instructions_html(kit: Kit, places: Sequence[Place]) -> str:
    steps = "\n".join(
        f"<li>{escape(what)}<pre>{escape(typed)}</pre></li>" for what, typed in _steps(kit, places)
    )
    rows = "\n".join(
        f"<tr><td>{escape(p.name)}</td><td><code>{escape(p.where)}</code></td>"
        f"<td>{'copy' if p.is_copy else 'written to'}</td></tr>"
        for p in _copies_first(places)
    )
    holders = "\n".join(
        f'<tr><td>{n}</td><td><span class="fill">&nbsp;</span></td>'
        '<td><span class="fill">&nbsp;</span></td></tr>'
        for n in range(1, kit.of + 1)
    )
    body = f"""<h1>Recovery kit {escape(kit.name)}</h1>
<p class="lead">With this, any {kit.need} of {kit.of} shares, and the storage, everything is
restored on a machine that has never seen it. Made {_day(kit)}.</p>
<h2>What to do</h2>
<ol>{steps}</ol>
<h2>Where the backups lie</h2>
<table><tr><th>Repository</th><th>Place</th><th></th></tr>{rows}</table>
<h2>Who holds the shares</h2>
<table><tr><th>Share</th><th>Name</th><th>Telephone</th></tr>{holders}</table>
<h2>If kit.json is lost</h2>
<p>Type this as <code>paper.yaml</code>, give the storage's credentials as AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, and run <code>drctl --plan paper.yaml snapshots --kit -</code>:</p>
<pre>{escape(_paper_plan(places))}</pre>
<h2>The plan</h2>
<pre>{escape(kit.plan)}</pre>"""
    return _html(f"{kit.name}: instructions", body)


def _instructions_text(kit: Kit, places: Sequence[Place]) -> str:
    lines = [
        f"RECOVERY KIT {kit.name}, made {_day(kit)}",
        (
            f"With any {kit.need} of {kit.of} shares and the storage everything is restored on a "
            "machine that has never seen it."
        ),
        "",
        "WHAT TO DO",
    ]
    for number, (what, typed) in enumerate(_steps(kit, places), 1):
        lines += [f"{number}. {what}", *(f"     {line}" for line in typed.splitlines())]
    lines += ["", "WHERE THE BACKUPS LIE"]
    lines += [f"  {p.name}: {p.where}" for p in _copies_first(places)]
    lines += [
        "",
        "IF kit.json IS LOST: type this as paper.yaml, give the storage's credentials as",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and run",
        "     drctl --plan paper.yaml snapshots --kit -",
        "",
        *(f"  {line}" for line in _paper_plan(places).splitlines()),
        "",
        "THE PLAN",
        "",
        kit.plan,
    ]
    return "\n".join(lines)

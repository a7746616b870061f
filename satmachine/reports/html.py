"""The pages of a statement and of a report: for a screen, a phone and paper (A4 and letter), light and dark. Pure.

One file each, without scripts, and nothing is fetched from anywhere. The same input gives the same page, to the byte: a
statement's page is signed (signed.py). Whatever a person has typed is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from html import escape
from typing import Any

from satmachine.money import minor_to_fiat
from satmachine.plain_text import THIN, printable
from satmachine.reports.chart import step_chart
from satmachine.reports.signed import place_of_event
from satmachine.reports.statement_document import Document, at_of
from satmachine.reports.summary import Report, Row

_MINUS = "\u2212"

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1f;--quiet:#5d5d66;--line:#d9d9de;--paper:#fff;--tint:#f4f4f6;--accent:#0b5c66}
@media (prefers-color-scheme:dark){:root{--ink:#ececf0;--quiet:#a6a6b0;--line:#3b3b43;--paper:#17171a;--tint:#212126;
--accent:#6fc7d1}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 3rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p{margin:.4rem 0;max-width:45rem}.quiet,figcaption{color:var(--quiet);font-size:.9rem}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.6rem;margin:1.2rem 0}
dl div{background:var(--tint);border-radius:.5rem;padding:.6rem .8rem}dt{color:var(--quiet);font-size:.85rem}
dd{margin:0;font-size:1.15rem;font-weight:600;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--quiet);font-size:.9rem;padding-bottom:.3rem}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{font-size:.85rem;color:var(--quiet);font-weight:600;border-bottom-width:2px}
.n{text-align:right;white-space:nowrap}.t{white-space:nowrap}
tr.sum th,tr.sum td{font-weight:700;border-bottom-width:2px}
tbody th{font-weight:400}td small{color:var(--quiet);display:block;white-space:normal}
figure{margin:1.2rem 0}svg{width:100%;height:auto;display:block}
.key{overflow-wrap:anywhere;font-family:ui-monospace,monospace;font-size:.85rem}
footer{margin-top:2.5rem;border-top:2px solid var(--line);padding-top:.8rem}
@media (max-width:40rem){
.wide thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
.wide,.wide caption,.wide tbody,.wide tr,.wide td,.wide th{display:block;width:100%}
.wide tr{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0;padding:.3rem .2rem}
.wide td,.wide tbody th{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.15rem .5rem;
white-space:normal;text-align:right}
.wide td::before,.wide tbody th::before{content:attr(data-label);color:var(--quiet);text-align:left}
.wide td:empty{display:none}}
@media print{
:root{--ink:#000;--quiet:#444;--line:#bbb;--paper:#fff;--tint:#f3f3f3;--accent:#000;color-scheme:light}
@page{margin:15mm 14mm}
body{max-width:none;padding:0;font-size:9.5pt;line-height:1.35}h1{font-size:15pt}h2{font-size:11.5pt;break-after:avoid}
dl{grid-template-columns:repeat(4,minmax(0,1fr))}dl div{border:1px solid var(--line)}dd{font-size:11pt}
thead{display:table-header-group}tr,figure,dl div,footer,section.one{break-inside:avoid}th,td{padding:.15rem .35rem}}
""".strip()


@dataclass(frozen=True, slots=True)
class _Cell:
    """One cell: its text (escaped when it is written), a quieter line below it; numbers are on the right, and a time
    stays in one line."""

    text: str
    number: bool = False
    below: str = ""
    time: bool = False


# --- a statement


def statement_page(document: Document, zone: tzinfo) -> str:
    """The page of a statement, with times in a time zone; if it is signed, with an empty place for its event."""
    unit = document["currency"]
    who = f"{document['person']} at {document['machine_name']}"
    body = [
        f"<header><h1>Statement for {_name(document['person'])} at {_name(document['machine_name'])}</h1>",
        f"<p>{_text(_span_in_words(document, zone))}</p>",
        f"<p class=quiet>From {_name(document['operator'])}; LP {_name(document['client'])} at machine "
        f"{_text(document['machine'])}. Made {_text(_time(document['made_at'], zone))}; "
        f"times are {_text(str(zone))}.</p>",
        "</header>",
        _figures(_statement_figures(document)),
        _balance_chart(document, zone),
        "<h2>Line by line</h2>",
        _table(
            "The cash that you brought, and what you got for it",
            ("Time", "What", f"Amount in {unit}", "Sats", f"Rate, sats per {unit}", f"Balance in {unit}"),
            [_statement_line(line, zone) for line in document["lines"]],
        )
        if document["lines"]
        else "<p>Nothing happened in this period.</p>",
        _statement_footer(document),
    ]
    return _page(f"Statement for {who}", body)


def _span_in_words(document: Document, zone: tzinfo) -> str:
    begin = "From the beginning" if document["since"] is None else f"From {_time(document['since'], zone)}"
    end = _time(document["until"] or document["made_at"], zone)
    return f"{begin} up to {end}"


def _statement_figures(document: Document) -> list[tuple[str, str]]:
    unit = document["currency"]
    found = [
        ("Balance before", _fiat(document["opening"], unit)),
        ("Brought, less taken back", _fiat(document["deposited"], unit)),
        ("Bought for", _fiat(document["bought"], unit)),
        ("Sats bought", _sats(document["bought_sats"])),
    ]
    if document["average_cost_per_bitcoin"] is not None:
        found.append(("Average cost of a bitcoin", _fiat(document["average_cost_per_bitcoin"], unit)))
    if document["routing_fee_sats"]:
        found.append(("Routing fees, in sats", _sats(document["routing_fee_sats"])))
    if document["on_its_way_sats"]:
        found.append(("Still on its way, in sats", _sats(document["on_its_way_sats"])))
    return [*found, ("Balance after", _fiat(document["closing"], unit))]


_WORDS = {
    "deposit": "Cash brought",
    "reversal": "Deposit that was taken back",
    "withdrawal": "Cash taken home",
    "purchase": "Bought from a sale",
    "payout": "Balance paid out",
}


def _statement_line(line: dict[str, Any], zone: tzinfo) -> list[_Cell]:
    what, below = _WORDS[line["what"]], ""
    if "sats" in line:
        below = "" if line["paid"] else "on its way"
        if line["payment_hash"]:
            below = f"payment {line['payment_hash'][:16]}\u2026"
    fee = f"and {_sats(line['routing_fee_sats'])} for routing" if line.get("routing_fee_sats") else ""
    return [
        _Cell(_time(line["at"], zone), time=True),
        _Cell(what, below=below),
        _Cell(_signed(line["amount"]), number=True),
        _Cell(_sats(line["sats"]) if "sats" in line else "", number=True, below=fee),
        _Cell(line.get("rate") or "", number=True, below=_spaced(line.get("arithmetic") or "")),
        _Cell(_grouped(line["balance"]), number=True),
    ]


def _balance_chart(document: Document, zone: tzinfo) -> str:
    points = [(at_of(line["at"]), Decimal(line["balance"])) for line in document["lines"]]
    if len(points) < 2:
        return ""
    begin = points[0][0] if document["since"] is None else at_of(document["since"])
    end = max(points[-1][0], at_of(document["until"] or document["made_at"]))
    points.insert(0, (begin, Decimal(document["opening"])))
    most = max(amount for _, amount in points)
    told = f"Your cash in the machine: {_fiat(document['opening'], document['currency'])} before, "
    told += (
        f"at most {_fiat(f'{most:f}', document['currency'])}, {_fiat(document['closing'], document['currency'])} after"
    )
    labels = (f"{datetime.fromtimestamp(begin, zone):%Y-%m-%d}", f"{datetime.fromtimestamp(end, zone):%Y-%m-%d}")
    return (
        f"<figure>{step_chart(points, end, told, labels, _grouped(f'{most:f}'))}"
        f"<figcaption>{_text(told)}</figcaption></figure>"
    )


def _statement_footer(document: Document) -> str:
    if document["signer"] is None:
        return "<footer><p>This statement is not signed: nobody can prove that it was not altered.</p></footer>"
    return (
        "<footer><p>This page is signed with the key</p>"
        f"<p class=key>{_text(document['signer'])}</p>"
        "<p>Compare it with the key that the operator has given you in another way. "
        "<code>satmachine verify FILE</code> proves that not one byte of this file was changed; you can do that "
        "without us as well (docs/for-liquidity-providers.md in satmachine). Each purchase's payment hash is shown by "
        "your own wallet too.</p></footer>" + place_of_event()
    )


# --- a report


def report_page(report: Report, zone: tzinfo, now: int, *, market: Decimal | None = None) -> str:
    """The page of a report; `market` is a rate that a person has stated for what is there at the end."""
    span = f"{_at(report.since, zone)} up to {_at(report.until, zone)}"
    body = [
        f"<header><h1>Report</h1><p>From {span}</p>",
        f"<p class=quiet>Made {_at(now, zone)}; times are {_text(str(zone))}. Sats are exact. Fiat is what sats were "
        "worth at each sale's own rate; nothing was valued again.</p></header>",
    ]
    several = [row for row in report.operators if row["machines"] > 1]
    body += [_flow(f"{row['operator_id']}, {row['machines']} machines", row) for row in several]
    body += [_flow(row["machine_id"], row) for row in report.machines]
    body += _payees(report.payees) + _clients(report.clients) + _retained(report.retained)
    if market is not None:
        body += _market(report, market)
    return _page(f"Report {span}", body)


def _flow(title: str, row: Row) -> str:
    """Where the sats of a wallet came from, and where they went."""
    unit = row["currency"]
    sales = f"Customers paid, in {row['sales']} sale{'' if row['sales'] == 1 else 's'}"
    lines = [
        ("In the wallet before", "opening", 1),
        (sales, "gross", 1),
        ("Platform", "platform", -1),
        ("Partners", "splits", -1),
        ("Liquidity providers", "purchases", -1),
        ("Balances paid out", "payouts", -1),
        ("Refunds", "refunds", -1),
        ("Routing fees", "fees", -1),
        ("Other: top-ups and similar", "other", 1),
        ("In the wallet after", "closing", 1),
        ("of which still to be paid", "to_share", 1),
        ("of which is retained", "retained", 1),
        ("of which is neither", "own", 1),
    ]
    shown = []
    for words, name, sign in lines:
        sats, minor = row[f"{name}_sats"], row.get(f"{name}_minor", 0)
        if not sats and name not in ("opening", "closing", "gross"):
            continue
        mark = " class=sum" if name in ("opening", "closing") else ""
        worth = _minor(sign * minor, unit) if minor else ""
        shown.append(_flow_row(words, sats * sign, worth, mark))
    if row["unpriced_sats"]:
        shown.append(_flow_row("moved without a known rate", row["unpriced_sats"], "", ""))
    cash = _cash_in_words(row)
    return (
        f"<section class=one><h2>{_text(title)}</h2><table><caption>{_text(cash)}</caption><thead><tr>"
        f"<th scope=col></th><th scope=col class=n>Sats</th><th scope=col class=n>Worth in {_text(unit)}</th>"
        f"</tr></thead><tbody>{''.join(shown)}</tbody></table></section>"
    )


def _cash_in_words(row: Row) -> str:
    found = {name: row[f"cash_{name}_minor"] for name in ("opening", "in", "out", "closing")}
    if not any(found.values()):
        return ""
    told = {name: _minor(minor, row["currency"]) for name, minor in found.items()}
    return (
        f"Cash in {row['currency']}: {told['opening']} before, {told['in']} put in (less what was taken out), "
        f"{told['out']} handed out, {told['closing']} after."
    )


def _flow_row(words: str, sats: int, worth: str, mark: str) -> str:
    return f"<tr{mark}><th scope=row>{_text(words)}</th><td class=n>{_sats(sats)}</td><td class=n>{worth}</td></tr>"


def _payees(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    stages = {"platform": "platform", "operator": "operator's part", "refund": "customers"}
    cells = [
        [
            _Cell(stages[row["stage"]]),
            _Cell(row["payee"]),
            _Cell(row["machine_id"]),
            _Cell(str(row["payments"]), number=True),
            _Cell(_sats(row["sent_sats"]), number=True),
            _Cell(f"{_minor(row['sent_minor'], row['currency'])} {row['currency']}", number=True),
        ]
        for row in rows
    ]
    heads = ("Stage", "Payee", "Machine", "Payments", "Sats", "Worth")
    return ["<h2>The commission, and refunds</h2>", _table("Who got it", heads, cells)]


def _clients(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    names = ("opening", "brought", "taken", "bought", "paid_out")
    cells = [
        [
            _Cell(f"{row['client']} at {row['machine_id']}", below=row["currency"]),
            *(_Cell(_minor(row[f"{name}_minor"], row["currency"]), number=True) for name in names),
            _Cell(_sats(row["bought_sats"] + row["paid_out_sats"]), number=True),
            _Cell(_minor(row["closing_minor"], row["currency"]), number=True),
        ]
        for row in rows
    ]
    heads = ("LP", "Before", "Brought", "Taken back", "Sold", "Paid out", "Sats got", "After")
    return ["<h2>Liquidity providers</h2>", _table("Their cash in the machines", heads, cells)]


def _retained(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    cells = [
        [
            _Cell(row["reason"].replace("_", " ")),
            _Cell(row["machine_id"]),
            *(_Cell(_sats(row[f"{name}_sats"]), number=True) for name in ("opening", "more", "used", "closing")),
        ]
        for row in rows
    ]
    heads = ("Reason", "Machine", "Before", "More", "Used later", "After")
    return ["<h2>Sats that stay in the wallets</h2>", _table("By reason", heads, cells)]


def _market(report: Report, market: Decimal) -> list[str]:
    cells = [
        [
            _Cell(row["machine_id"]),
            _Cell(_sats(row["closing_sats"]), number=True),
            _Cell(f"{_minor(row['closing_minor'], row['currency'])} {row['currency']}", number=True),
        ]
        for row in report.at(market)
    ]
    caption = f"At {market:f} sats for one unit, a rate that was given for this page; the books value nothing again"
    return ["<h2>What is there, at a given rate</h2>", _table(caption, ("Machine", "Sats", "Worth"), cells)]


# --- parts


def _page(title: str, body: Iterable[str]) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">'
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _figures(found: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{_text(n)}</dt><dd>{_text(v)}</dd></div>" for n, v in found) + "</dl>"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> str:
    """A table that becomes a list of cards if the screen is narrow."""
    lines = list(rows)
    numbers = [any(line[place].number for line in lines) for place in range(len(heads))]
    head = "".join(
        f"<th scope=col{' class=n' if number else ''}>{_text(name)}</th>"
        for name, number in zip(heads, numbers, strict=True)
    )
    body = "\n".join("<tr>" + "".join(map(_td, heads, line)) + "</tr>" for line in lines)
    top = f"<table class=wide><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead>"
    return f"{top}<tbody>\n{body}\n</tbody></table>"


def _td(head: str, cell: _Cell) -> str:
    inner = _text(cell.text) + (f"<small>{_text(cell.below)}</small>" if cell.below else "")
    label = f' data-label="{_text(head)}"'
    # One element beside the label, so that a card shows two columns.
    wrapped = f"<span>{inner}</span>" if inner else ""
    kind = " class=n" if cell.number else " class=t" if cell.time else ""
    return f"<td{kind}{label}>{wrapped}</td>"


def _text(text: str) -> str:
    return escape(printable(text), quote=True)


def _name(text: str) -> str:
    """What a person has typed: its direction of writing does not affect the text around it."""
    return f"<bdi>{_text(text)}</bdi>"


def _time(text: str, zone: tzinfo) -> str:
    return _at(at_of(text), zone)


def _at(at: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M}"


def _sats(amount: int) -> str:
    return f"{amount:,}".replace(",", THIN).replace("-", _MINUS)


def _minor(amount_minor: int, currency: str) -> str:
    return _grouped(f"{minor_to_fiat(amount_minor, currency):f}")


def _fiat(text: str, currency: str) -> str:
    return f"{_grouped(text)} {currency}"


def _signed(text: str) -> str:
    return _grouped(text) if text.startswith("-") else f"+{_grouped(text)}"


def _grouped(text: str) -> str:
    return f"{Decimal(text):,f}".replace(",", THIN).replace("-", _MINUS)


def _spaced(arithmetic: str) -> str:
    return arithmetic.replace(" / ", " \u00f7 ")

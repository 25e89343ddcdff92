"""Which of the December 2025 note's claims hold? All of them, those that decide first."""

import html
import re
from collections import Counter
from collections.abc import Sequence

from ...bench.evidence import RECORD_CASES, Evidence
from ...decision import claims
from ...decision.note import BATCHED, COPY_SHARE, SPEED_UPS, TOTALS
from ..palette import SIGNS
from .live import FORMED, LivePicture
from .tables import Table, table

STEPS = 4  # that the few claims of `compared` are about
# What the decision rests on: is computing once right, and worth it; do copies matter; does batching them pay; can
# anything else; and is the note's own condition for looking again met?
DECIDING = ("P5", "P1", "C6", "B3", "A3", "D2")
PLAIN = (  # the ledger's words and the page's
    (r"record-4 and record-8", "decode, 4 and 8 steps"),
    (r"record-4", "decode"),
    (r"record-8", "8 steps"),
    (r"target_verify-steps-4", "target verify"),
    (r"draft_extend-steps-4", "draft extend"),
    (r" -> ", " \u2192 "),
    (r" \([^()]*\d%?\.\.\d[^()]*\)", ""),  # how far runs spread: `decide --claims` says it
    (r", [+-]\d+%", ""),  # of a ratio that is given, too
    (r"\b([\d.]+)x (?=as fast|faster)", r"\1 times "),
    (r"\b([\d.]+)x\b", r"\1 times as fast"),
    (r"\bus\b", "\u00b5s"),
    (r"\b(\d)(\d{3})(?= \u00b5s| to )", r"\1,\2"),
    (r"\b(\d) steps\b", r"\1 draft steps"),
    (r"(draft steps), ", r"\1; "),
    (r"\bdecode step\b", "set of decode"),
    (r"\b([Aa]|[Oo]ne|1|per) step\b", r"\1 set"),
    (r"\bkept path's\b", "copies'"),
    (r"\breplay(s?)\b", lambda found: "refreshes" if found[1] else "refresh"),
    (r"\bfield", "array"),
)


def ledger(evidence: Evidence) -> LivePicture:
    """The claims, one a block, the deciding ones first; a reader filters them."""
    rows = ledger_rows(claims.ledger(evidence))
    source = (
        "'Held' and 'did not hold' follow from the recordings by a stated test. The other verdicts say why none "
        "exists. How far the runs spread: python -m nsa_core decide --claims. "
    )
    data = {"rows": rows, "source": f"{source}{evidence.brief}."}
    return LivePicture(
        "ledger",
        data,
        {"find": "", "verdict": "", "all": False},
        words=lambda _state: summary(rows),
        still=lambda _state: _still(rows),
        hint="filter while typing or by verdict.",
    )


def compared(evidence: Evidence) -> Table:
    """Four of the note's numbers beside the measured ones: ratios and a share, since times depend on the host."""
    case, noted = RECORD_CASES[STEPS], BATCHED[STEPS] / TOTALS[STEPS]["after"]
    slower, graph = evidence.faster(case, "copy", "batched").median, evidence.faster(case, "graph").median
    found = (
        (
            "computing once, against computing every set",
            _times(SPEED_UPS[STEPS]),
            _times(evidence.speed_up(case).median),
        ),
        ("the batched copy, against plain copies", _change(noted), _change(slower)),
        ("the copies' share of a refresh", f"about {COPY_SHARE:.0%}", f"{evidence.copy_share(case).median:.0%}"),
        ("one recorded kernel, against plain copies", "unlikely to be faster", _times(graph)),
    )
    columns = ("one refresh, 4 draft steps", "the note", "measured")
    rows = [dict(zip(columns, line, strict=True)) for line in found]
    return table(rows, caption=f"{FORMED} Measured: {evidence.brief}")


def _times(ratio: float) -> str:
    return f"{ratio:.{0 if ratio >= 10 else 1}f} times as fast"


def _change(ratio: float) -> str:
    return f"{abs(ratio - 1):.0%} {'longer' if ratio > 1 else 'shorter'}"


def ledger_rows(rulings: Sequence[claims.Ruling]) -> list[dict]:
    """Fields as front/ledger.js lists them; the deciding ones first."""
    found = [
        {
            "id": ruling.claim.id,
            "claim": _plain(ruling.claim.text),
            "kind": ruling.claim.kind,
            "verdict": ruling.verdict,
            "sign": SIGNS[ruling.verdict],
            "label": "What we can say" if ruling.verdict == claims.JUDGEMENT else "Measured",
            "measured": _plain(ruling.number),
            "test": _plain(ruling.claim.test),
            "remark": _plain(ruling.claim.remark),
            "changes": _plain(ruling.claim.changes),
            "deciding": ruling.claim.id in DECIDING,
        }
        for ruling in rulings
    ]
    order = {name: at for at, name in enumerate(DECIDING)}
    return sorted(found, key=lambda row: order.get(row["id"], len(order)))


def _plain(text: str) -> str:
    for old, new in PLAIN:
        text = re.sub(old, new, text)
    return text


def summary(rows: Sequence[dict]) -> str:
    """How many claims have each verdict, and the deciding ones with theirs."""
    counts = Counter(row["verdict"] for row in rows)
    lines = [f"{len(rows)} claims: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())]
    lines += [
        f"{r['sign']} {r['id']} {r['verdict']}: {r['claim']} {r['label']}: {r['measured']}"
        for r in rows
        if r["deciding"]
    ]
    return "\n".join(lines)


def _still(rows: Sequence[dict]) -> str:
    deciding, others = ("".join(_block(row) for row in rows if row["deciding"] is which) for which in (True, False))
    return f"{deciding}<details><summary>The other claims</summary>{others}</details>"


def _block(row: dict) -> str:
    said = {name: html.escape(text) for name, text in row.items() if isinstance(text, str)}
    remark = f" {said['remark']}" if said["remark"] else ""
    return (
        f"<p><b>{said['sign']} {said['verdict']}</b><br><b>The note:</b> {said['claim']}<br>"
        f"<b>{said['label']}:</b> {said['measured']}.{remark}</p>"
    )

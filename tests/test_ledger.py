"""Does the ledger show every claim once, filter it, and stay readable without colours? No browser needed."""

import html
import io
import itertools
import re

import bench_rows
import numpy as np
import pytest
from PIL import Image
from test_explore import APART, VISION, lab

from nsa_core.lab.bench.evidence import Evidence
from nsa_core.lab.decision import claims
from nsa_core.lab.explore import ledger
from nsa_core.lab.explore.ledger import ALL, Ledger

VERDICTS = (claims.HELD, claims.NOT_HELD, claims.JUDGEMENT, claims.HOST, claims.OTHER, claims.NOT_TESTABLE)


@pytest.fixture(scope="module")
def findings():
    return claims.ledger(Evidence(bench_rows.recording(bench_rows.AS_ON_AN_H200)))


@pytest.fixture
def widget(findings):
    return Ledger(findings)


def ids(widget):
    return [finding.claim.id for finding in widget.shown]


def test_every_claim_is_shown_once_with_its_verdict(widget, findings):
    assert ids(widget) == [claim.id for claim in claims.CLAIMS]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td[^>]*>(.*?)</td>', widget.text.value)
    assert rows == [(f.claim.id, f"{ledger.SIGNS[f.verdict]} {f.verdict}") for f in findings]


def test_a_filter_keeps_what_it_names(widget, findings):
    for name, of in (("verdict", lambda f: f.verdict), ("kind", lambda f: f.claim.kind)):
        for value in {of(f) for f in findings}:
            widget.controls[name].value = value
            assert ids(widget) == [f.claim.id for f in findings if of(f) == value]
        widget.controls[name].value = ALL
    assert len(widget.shown) == len(findings)


def test_filters_add_up(widget, findings):
    widget.controls["kind"].value, widget.controls["verdict"].value = "number", claims.NOT_HELD
    assert ids(widget) == [f.claim.id for f in findings if f.claim.kind == "number" and f.verdict == claims.NOT_HELD]


@pytest.mark.parametrize("word, found", [("is_contiguous", ["B6"]), ("IS_CONTIGUOUS", ["B6"]), ("no such word", [])])
def test_words_are_found_in_any_case(widget, word, found):
    widget.controls["find"].value = word
    assert ids(widget) == found
    assert widget.summary.startswith(f"{len(found)} of {len(claims.CLAIMS)} claims")


def test_the_summary_counts_what_is_shown(widget):
    counts = re.findall(
        r"(\d+) (held|did not hold|judgement|depends on the host|another object|not testable there)", widget.summary
    )
    assert sum(int(count) for count, _ in counts) == len(claims.CLAIMS)


def test_machines_can_be_told_apart(findings):
    one, two = (bench_rows.recording(bench_rows.AS_ON_AN_H200) for _ in range(2))
    other = Evidence([row | {"machine": "Another GPU"} for row in two])
    widget = Ledger([*claims.ledger(Evidence(one)), *claims.ledger(other)])
    assert len(widget.shown) == 2 * len(findings)
    widget.controls["machine"].value = "Another GPU"
    assert len(widget.shown) == len(findings)


def test_text_from_a_recording_is_escaped(findings):
    hostile = claims.Ruling(findings[0].claim, "m", claims.HELD, "<script>1</script>")
    text = ledger.table([hostile])
    assert "<script>" not in text and html.escape(hostile.number) in text


def test_a_viewer_without_widgets_gets_the_table(widget):
    bundle, _ = widget._repr_mimebundle_()
    assert bundle["text/plain"] == widget.summary and bundle["text/html"] == widget.text.value


def test_every_verdict_has_a_colour_and_a_sign_of_its_own():
    assert set(VERDICTS) == set(ledger.VERDICT_COLOURS) == set(ledger.SIGNS)
    assert len(set(ledger.VERDICT_COLOURS.values())) == len(set(ledger.SIGNS.values())) == len(VERDICTS)


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION)
def test_verdicts_stay_apart_for_colour_blind_readers(vision):
    for one, other in itertools.combinations(ledger.VERDICT_COLOURS.values(), 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > APART, (one, other)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_words_on_a_colour_can_be_read(verdict):
    """A contrast of 4.5 and up, as WCAG asks."""
    light, dark = sorted((luminance(ledger.VERDICT_COLOURS[verdict]), luminance(ledger.INK[verdict])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour):
    return ((lab(colour, np.eye(3))[0] + 16) / 116) ** 3


def test_the_picture_is_small_and_repeatable(findings):
    one, two = (ledger.overview(findings, "conditions") for _ in range(2))
    assert one.png == two.png and len(one.png) < 200_000
    assert Image.open(io.BytesIO(one.png)).width == 860
    assert one.lines == [f"{len(findings)} claims: {ledger.counted(findings)}", "conditions"]

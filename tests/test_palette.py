"""Does every reader tell the colours apart, on paper and on a dark page, and can each be seen on it?"""

import itertools

import numpy as np
import pytest
from colour_vision import TO_XYZ, VISION, lab, linear

from nsa_core import ForwardMode, strategies
from nsa_core.lab.decision import claims
from nsa_core.lab.explore import palette

APART = 20  # CIE76; about 2 is the least that can be seen side by side
WITHIN = 5  # members of a family, which also have names beside them
VISIBLE, READABLE = 3.0, 4.5  # WCAG 2.2 contrast: of marks, of text

FAMILIES = {name: colour for name, (colour, _) in palette.FAMILIES.items()}
GROUPS = {"families": FAMILIES, "modes": palette.MODES, "states": palette.STATES}
SIDES = ("light", "dark")


def contrast(one, other):
    dark, light = sorted(0.05 + TO_XYZ[1] @ linear(colour) for colour in (one, other))
    return light / dark


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION)
@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("side", SIDES)
def test_colours_of_a_group_stay_apart_for_every_reader(group, vision, side):
    for one, other in itertools.combinations({getattr(colour, side) for colour in group.values()}, 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > APART, (one, other)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("family", palette.FAMILIES)
def test_members_of_a_family_differ_in_lightness(family, side):
    shades = [getattr(palette.STRATEGIES[name], side) for name in palette.FAMILIES[family][1]]
    light = [lab(shade, VISION["typical"])[0] for shade in shades]
    assert all(abs(a - b) > WITHIN for a, b in itertools.combinations(light, 2))


@pytest.mark.parametrize("side", SIDES)
def test_marks_are_visible_and_words_readable_on_the_page(side):
    page = getattr(palette.PAPER, side)
    marks = [*FAMILIES.values(), *palette.MODES.values(), palette.STATES["written"], palette.PARTS["compute"]]
    assert all(contrast(getattr(colour, side), page) >= VISIBLE for colour in marks)
    panel = getattr(palette.NEUTRALS["panel"], side)
    for name in ("ink", "muted"):
        words = getattr(palette.NEUTRALS[name], side)
        assert min(contrast(words, page), contrast(words, panel)) >= READABLE


def test_every_strategy_mode_and_verdict_has_its_own():
    assert palette.STRATEGIES.keys() == strategies().keys()
    assert palette.MODES.keys() == {mode.value for mode in ForwardMode}
    verdicts = {getattr(claims, name) for name in ("HELD", "NOT_HELD", "HOST", "OTHER", "JUDGEMENT", "NOT_TESTABLE")}
    assert palette.SIGNS.keys() == verdicts


def test_the_style_sheet_names_every_colour_of_both_sides():
    sheet = palette.css()
    for name, colour in (palette.STRATEGIES | palette.NEUTRALS).items():
        assert f"--nsa-{name.replace('+', '-')}: light-dark({colour.light}, {colour.dark});" in sheet
    assert "--nsa-mode-target-verify:" in sheet and "--nsa-state-stale-other:" in sheet

"""The colours of every picture, once: the browser's custom properties and matplotlib's charts are made from here.

Found by a search for colours that stay apart for typical, protan, deutan and tritan readers, on paper and on a dark
page; tests/test_palette.py holds the distances. A verdict has a sign and a neutral tone, never a colour of its own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One meaning on a light page and on a dark one, as #rrggbb."""

    light: str
    dark: str

    def mixed(self, other: "Colour", share: float) -> "Colour":
        """`share` (0..1) of the other colour in this one."""
        return Colour(*(_mixed(a, b, share) for a, b in ((self.light, other.light), (self.dark, other.dark))))


def _mixed(one: str, other: str, share: float) -> str:
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


PAPER = Colour("#ffffff", "#16191d")
INK = Colour("#1b1f24", "#eceff3")
NEUTRALS = {
    "paper": PAPER,
    "panel": Colour("#f5f6f8", "#1f2329"),
    "line": Colour("#d5d9df", "#3a4048"),
    "muted": Colour("#5a626d", "#a2abb7"),
    "ink": INK,
    "focus": Colour("#0173b2", "#6ab7f0"),
}

# A family shares a hue; its later members are nearer to the page, so that they also differ without colour.
FAMILIES = {
    "eager": (Colour("#ca3338", "#e46f38"), ("eager",)),
    "copy": (Colour("#005fc2", "#6e8ee4"), ("copy", "foreach")),
    "batched": (Colour("#80679c", "#d7b3e5"), ("batched", "batched-each", "batched-strided", "batched-steps")),
    "fused": (Colour("#d67a13", "#f8b62d"), ("fused",)),
    "graph": (Colour("#213840", "#e3f5f0"), ("graph",)),
    "shared": (Colour("#04a077", "#3bc899"), ("shared+graph", "shared+fused", "shared")),
}
NEARER = 0.18  # to the page, for each further member of a family
STRATEGIES = {
    name: colour.mixed(PAPER, NEARER * at) for colour, names in FAMILIES.values() for at, name in enumerate(names)
}
MODES = {
    "decode": Colour("#326fb3", "#8fb0fb"),
    "target_verify": Colour("#90475a", "#e28ea0"),
    "draft_extend": Colour("#8f8f3c", "#dedb83"),
}
MODES["idle"] = MODES["decode"]  # an idle replay is a decode replay of padding
STATES = {
    "written": Colour("#0173b2", "#4aa8ec"),  # by this replay, and read
    "unread": Colour("#9fd0f2", "#1d4e79"),  # by this replay, past its row's length
    "stale-same": Colour("#f7d774", "#7d5a12"),  # kept from an earlier replay of the same request
    "stale-other": Colour("#d97700", "#f5a33d"),  # kept from another request
    "untouched": Colour("#ffffff", "#14171c"),  # what capture left
    "constant": Colour("#9a9a9a", "#80868f"),
    "fault": Colour("#111111", "#ffffff"),  # read and not written
}
PARTS = {  # of a replay's time
    "compute": Colour("#6b7785", "#8d99a6"),
    "copies": STRATEGIES["copy"],
    "batched copies": STRATEGIES["batched"],
    "one launch": STRATEGIES["fused"],
    "rest": Colour("#d9dde3", "#3d444d"),
}
SIGNS = {
    "held": "\u2713",
    "did not hold": "\u2717",
    "depends on the host": "\u25d0",
    "another object": "\u2260",
    "judgement": "\u25cb",
    "not testable there": "?",
}


def css() -> str:
    """The palette as custom properties of `.nsa`, on the page's own side of light and dark.

    JupyterLab says which on its body; elsewhere the reader's own setting does.
    """
    groups = {"": NEUTRALS | STRATEGIES, "mode-": MODES, "state-": STATES, "part-": PARTS}
    named = {prefix + name: colour for prefix, colours in groups.items() for name, colour in colours.items()}
    lines = (f"  --nsa-{_spelled(name)}: light-dark({c.light}, {c.dark});" for name, c in named.items())
    return "\n".join(
        [
            ".nsa {",
            "  color-scheme: light dark;",
            *lines,
            "}",
            '[data-jp-theme-light="true"] .nsa { color-scheme: light; }',
            '[data-jp-theme-light="false"] .nsa, .dark .nsa { color-scheme: dark; }',
        ]
    )


def _spelled(name: str) -> str:
    return name.replace("+", "-").replace("_", "-").replace(" ", "-")

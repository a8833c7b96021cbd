"""The colours of a report on a light and on a dark page.

One table serves the page's style sheet and the figures. Text colours keep a contrast of 4.5 and marks of 3 to their
page (WCAG 2.2, 1.4.3 and 1.4.11); a test computes it. Arms carry their labels as well, never colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "page": "#fdfcf9",
    "panel": "#f5f3ec",
    "ink": "#1d1c19",
    "muted": "#5f5c54",
    "rule": "#dcd8cc",
    "mark": "#9b3412",  # what needs attention: cut samples, warnings
    "arm0": "#66635c",
    "arm1": "#a8550a",
    "arm2": "#1f5fae",
    "arm3": "#0d7a5f",
    "arm4": "#a02c6a",
    "arm5": "#5d48b5",
    "arm6": "#766400",
    "arm7": "#0b7285",
}
DARK: Mapping[str, str] = {
    "page": "#171614",
    "panel": "#211f1c",
    "ink": "#ece9e1",
    "muted": "#a8a397",
    "rule": "#3a3732",
    "mark": "#f0a184",
    "arm0": "#aaa69b",
    "arm1": "#eda45c",
    "arm2": "#82b4f0",
    "arm3": "#5fc9a8",
    "arm4": "#ee8fbd",
    "arm5": "#b3a6fa",
    "arm6": "#d0bd52",
    "arm7": "#66c5d6",
}
N_ARM_COLOURS = 8


def arm_role(slot: int) -> str:
    """The colour of an arm: the base is arm0; beyond the last colour they come again, the base's left out."""
    return f"arm{slot}" if slot == 0 else f"arm{(slot - 1) % (N_ARM_COLOURS - 1) + 1}"


def style_variables() -> str:
    """The two tables as custom properties of a style sheet, the dark one where the reader's system asks for it."""
    light, dark = ("".join(f"--{name}:{value};" for name, value in table.items()) for table in (LIGHT, DARK))
    roles = "".join(
        f".fill-{name}{{fill:var(--{name})}}.line-{name}{{stroke:var(--{name})}}"
        for name in LIGHT
        if name not in ("page", "panel")
    )
    arms = "".join(f".arm{i}{{--arm:var(--arm{i})}}" for i in range(N_ARM_COLOURS))
    scheme = ":root{color-scheme:light dark;" + light + "}"
    return f"{scheme}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{roles}{arms}"

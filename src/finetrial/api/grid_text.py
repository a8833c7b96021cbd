"""Write the good answers of each arm to each prompt as a grid for a terminal of 80 columns."""

from __future__ import annotations

from finetrial.evidence.good_grid import GoodGrid
from finetrial.reporting.safe_text import one_line

WIDTH = 80
_MOST_PROMPTS = 20
_LEAST_PROMPT, _MOST_PROMPT, _LONGEST_ARM = 8, 40, 12


def grid_lines(grid: GoodGrid | None) -> list[str]:
    """The grid with its sums, a prompt a row; beyond what fits, how many prompts and arms are left out."""
    if grid is None or not grid.prompts:
        return []
    shown = [arm for arm in grid.arms if any(arm in row.arms for row in grid.prompts)]
    left_out = 0
    cells = {
        arm: [str(row.arms[arm]) if arm in row.arms else "–" for row in grid.prompts] + [str(grid.total(arm))]
        for arm in shown
    }
    heads = {arm: one_line(arm, longest=_LONGEST_ARM) for arm in shown}
    widths = {arm: max(len(heads[arm]), *map(len, cells[arm])) for arm in shown}
    while len(shown) > 1 and sum(widths[arm] + 2 for arm in shown) + _LEAST_PROMPT + 2 > WIDTH:
        shown.pop()
        left_out += 1
    room = min(_MOST_PROMPT, WIDTH - 2 - sum(widths[arm] + 2 for arm in shown))
    rows = grid.prompts[:_MOST_PROMPTS]
    names = ["good of graded", *(one_line(row.prompt, longest=room) for row in rows), "all"]
    width = min(room, max(map(len, names)))
    lines = [f"  {names[0][:width]:<{width}}" + "".join(f"  {heads[arm]:>{widths[arm]}}" for arm in shown)]
    places = [*range(len(rows)), len(grid.prompts)]
    for name, place in zip(names[1:], places, strict=True):
        lines.append(f"  {name:<{width}}" + "".join(f"  {cells[arm][place]:>{widths[arm]}}" for arm in shown))
    more = [f"{len(grid.prompts) - len(rows)} more prompts"] * (len(grid.prompts) > len(rows))
    more += [f"{left_out} more arms"] * bool(left_out)
    return [*lines, *([f"  {' and '.join(more)}: --json"] if more else [])]

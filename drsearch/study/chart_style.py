"""What Plotly charts share: their colours, and how charts on one page are linked by trial.

A trace takes part in the links by its `meta`: `BY_POINT`, with the trial of every point (or cell of a heat map) in its
`customdata`; or `of_trial(3)`, where the whole trace is one trial's.
"""

BLUE, ORANGE, GREEN, PURPLE, GREY = "#2878bd", "#d9630f", "#1a9a78", "#9a62b5", "#8b939e"
"""Colours that colour-blind readers tell apart, each clear on white and on near-black (after Okabe and Ito, 2008)."""

BY_POINT = {"linked": "points"}
"""The `meta` of a trace whose `customdata` holds the trial of every point, or of every cell of a heat map."""


def of_trial(number: int) -> dict[str, int]:
    """The `meta` of a trace that belongs to one trial as a whole."""
    return {"trial": number}

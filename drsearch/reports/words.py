"""Numbers and texts as reports print them."""

from typing import Any

from markupsafe import Markup

from drsearch.measure.scores import Interval


def percent(interval: Interval) -> str:
    """A share with its interval.

    Example:
        >>> percent(Interval(0.65, 0.51, 0.78))
        '65 % (51 to 78 %)'
    """
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def duration(hours: float) -> str:
    """A time in the unit that suits it.

    Example:
        >>> duration(2.25), duration(0.5), duration(0.005)
        ('2.2 h', '30 min', '18 s')
    """
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def short(value: Any) -> str:
    """A setting: numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def html(content: str, *parts: str, **values: str) -> Markup:
    """A text with elements in it, and values that are escaped unless they are `Markup`.

    Example:
        >>> html("<b>{name}</b>", name="x < y")
        Markup('<b>x &lt; y</b>')
    """
    return Markup(content).format(*parts, **values)

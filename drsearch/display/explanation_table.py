"""What a model looks at, as tables for people."""

from rich.console import Console

from drsearch.display.output import liner, print_lines
from drsearch.display.tables import column, table
from drsearch.measure.pointing import Paired
from drsearch.release.explain import Explanation


def print_explanation(out: Console, title: str, result: Explanation) -> None:
    """Print how heat lies to lesions, against what, and the tests of the explanations.

    Args:
        out: Where to.
        title: Above the tables.
        result: The figures.
    """
    line = liner(out)
    line(title)
    regions = result.regions
    print_lines(
        out,
        table(
            [
                column("boxes", [each.name for each in regions]),
                column("eyes", [str(each.n) for each in regions], "right"),
                column("peak in them", [str(each.hit) for each in regions]),
                column("share of heat", [str(each.heat) for each in regions]),
                column("chance", [f"{each.area.value:.3f}" for each in regions]),
                column("peak minus chance", [_paired(each.hit_over_area) for each in regions]),
                column("heat minus chance", [_paired(each.heat_over_area) for each in regions]),
            ]
        ),
    )
    others = result.against
    print_lines(
        out,
        table(
            [
                column("lesions, against", [each.name for each in others]),
                column("peak", [str(each.hit) for each in others]),
                column("heat", [str(each.heat) for each in others]),
                column("peak: model minus it", [_paired(each.hit_difference) for each in others]),
                column("heat: model minus it", [_paired(each.heat_difference) for each in others]),
            ]
        ),
    )
    if result.bright_over_red is not None:
        line(f"heat per area, bright minus red lesions of the same eyes: {_paired(result.bright_over_red)}")
    line(
        f"deletion {result.deletion}, minus that of another eye's map {_paired(result.deletion_over_other)} (less is"
        f" better); insertion {result.insertion}, minus it {_paired(result.insertion_over_other)} (more is better)"
    )
    shares = ", ".join(
        f"{'last layer' if share == 0 else f'{share:.0%}'}: {interval:.2f}" for share, interval in result.randomised
    )
    line(f"rank correlation with the maps of networks whose layers have random weights, from the output on: {shares}")
    if result.n_without_heat:
        line(f"in {result.n_without_heat} eyes nothing speaks for RDR; their peak and heat count as 0")


def _paired(difference: Paired) -> str:
    return f"{difference.difference:+.3f}, p {difference.p:.2g}"

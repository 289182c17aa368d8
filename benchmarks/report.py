"""What do all benchmarks say together: `docs/benchmarks.md` and its chart; and is anything worse than was accepted?

python -m benchmarks.report               write the page from benchmarks/results
python -m benchmarks.report check FOLDER  compare fresh results in FOLDER with those in benchmarks/results
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.rounds import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
CHART = PAGE.parent / "pictures" / "benchmarks.png"
ORDER = (
    "epoch",
    "beside_torch",
    "batches",
    "workers",
    "study",
    "tracking",
    "memory",
    "prepare",
    "large",
    "search_cost",
    "serving",
    "server",
    "scale",
    "engines",
    "demand",
    "long_study",
    "gpu",
)
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"

_HEAD = """# Benchmarks

Measurements of speed and memory, each with the command that repeats it. `make bench` runs all of them and writes this
page; `make bench-check` runs the short ones again and compares their ratios, never their seconds, with those of this
page. In each round every way is timed in turn, and a ratio is the median of the rounds' ratios, so a slow minute of a
shared machine slows both sides alike. A benchmark without a section has not been run yet.

![Every ratio and its aim](pictures/benchmarks.png)

"""


def write() -> None:
    """The page and its chart, from the kept results."""
    results = _read(RESULTS)
    PAGE.write_text(_HEAD + "\n".join(_section(result) for result in results))
    _chart([(result["benchmark"], ratio) for result in results for ratio in result["ratios"] if ratio["wanted"]])


def check(folder: Path) -> list[str]:
    """What is worse in `folder` than in the kept results, beyond each ratio's tolerance; one sentence each."""
    accepted = {result["benchmark"]: result for result in _read(RESULTS)}
    worse = []
    for fresh in _read(folder):
        kept = accepted.get(fresh["benchmark"])
        if kept is None:
            continue
        before = {ratio["name"]: ratio for ratio in kept["ratios"]}
        for ratio in fresh["ratios"]:
            if ratio["name"] in before and _is_worse(ratio, before[ratio["name"]]):
                worse.append(
                    f"{fresh['benchmark']}: {ratio['name']} is {_median(ratio):.2f}, accepted "
                    f"{_median(before[ratio['name']]):.2f} with a tolerance of {100 * ratio['tolerance']:.0f} %"
                )
        worse += [
            f"{fresh['benchmark']}: {name} is {count}, accepted {kept['counts'][name]}"
            for name, count in fresh["counts"].items()
            if name in kept["counts"] and count > kept["counts"][name]
        ]
    return worse


def _is_worse(ratio: dict[str, Any], accepted: dict[str, Any]) -> bool:
    now, then, slack = _median(ratio), _median(accepted), 1 + ratio["tolerance"]
    return now < then / slack if ratio["better"] == "higher" else now > then * slack


def _read(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sorted(found, key=lambda result: ORDER.index(result["benchmark"]))


def _median(ratio: dict[str, Any]) -> float:
    return statistics.median(ratio["rounds"])


def _section(result: dict[str, Any]) -> str:
    lines = [f"## {result['question']}", "", f"    {result['command']}", ""]
    for table in result["tables"]:
        lines += [
            f"{table['title']}:",
            "",
            "| " + " | ".join(table["columns"]) + " |",
            "|-" * len(table["columns"]) + "|",
        ]
        lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table["rows"]]
        lines.append("")
    if result["ratios"]:
        lines += ["| ratio | median of rounds | range | aim |", "|-|-|-|-|", *map(_ratio_row, result["ratios"]), ""]
    if result["counts"]:
        lines += ["| count | |", "|-|-|", *(f"| {name} | {count} |" for name, count in result["counts"].items()), ""]
    lines += [*(f"{note}\n" for note in result["notes"]), _machine(result), ""]
    return "\n".join(lines)


def _ratio_row(ratio: dict[str, Any]) -> str:
    aim = ""
    if ratio["wanted"]:
        bound = "at least" if ratio["better"] == "higher" else "at most"
        aim = f"{bound} {ratio['wanted']:g}, {'reached' if _reaches(ratio) else '**not reached**'}"
    spread = f"{min(ratio['rounds']):.2f} to {max(ratio['rounds']):.2f}" if len(ratio["rounds"]) > 1 else ""
    return f"| {ratio['name']} | {_median(ratio):.2f} | {spread} | {aim} |"


def _reaches(ratio: dict[str, Any]) -> bool:
    found = _median(ratio)
    return bool(found >= ratio["wanted"] if ratio["better"] == "higher" else found <= ratio["wanted"])


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    libraries = ", ".join(f"{name} {found}" for name, found in machine["libraries"].items())
    minutes = round(result["seconds"] / 60)
    return (
        f"*{machine['date']}, commit `{machine['commit']}`, {machine['cores']} cores of {machine['processor']}, "
        f"{minutes} minute{'s' * (minutes != 1)}; {libraries}.*"
    )


def _chart(ratios: list[tuple[str, dict[str, Any]]]) -> None:
    """A row a ratio: the median of its rounds, their range, and the aim, each as a share of the aim."""
    figure = Figure(figsize=(10, 1.2 + 0.34 * len(ratios)), dpi=110)
    axes = figure.add_subplot()
    for row, (_, ratio) in enumerate(reversed(ratios)):
        shares = [found / ratio["wanted"] for found in ratio["rounds"]]
        middle = statistics.median(shares)
        axes.plot([min(shares), max(shares)], [row, row], color=_GREY, linewidth=3, alpha=0.5)
        axes.plot(middle, row, "o", color=_BLUE if _reaches(ratio) else _ORANGE, markersize=7)
        axes.text(1.01, row, f"{_median(ratio):.2f}", va="center", fontsize=8, transform=axes.get_yaxis_transform())
    axes.axvline(1, color=_GREY, linewidth=1, linestyle=":")
    names = [f"{name}: {r['name']} {'≥' if r['better'] == 'higher' else '≤'} {r['wanted']:g}" for name, r in ratios]
    axes.set_yticks(range(len(ratios)), reversed(names), fontsize=8)
    axes.set_xlabel("share of the aim (dotted); blue: reached, orange: not; bars: range of the rounds", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    FigureCanvasAgg(figure).print_png(str(CHART))


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("write", "check"), default="write")
    parser.add_argument("folder", nargs="?", type=Path)
    options = parser.parse_args()
    if options.what == "write":
        write()
        return 0
    if options.folder is None:
        parser.error("check FOLDER: name the folder of the fresh results")
    worse = check(options.folder)
    print("\n".join(worse) or "no ratio is worse than accepted")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())

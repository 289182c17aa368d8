"""Does the report of a study work in a browser that has no network?"""

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.browser

MARKED = """name => document.getElementById(name).data
    .flatMap(trace => (trace.selectedpoints || []).map(place => trace.customdata[place]))"""
STRONG = """name => document.getElementById(name).data
    .filter(trace => trace.meta && trace.opacity > 0.5).map(trace => trace.meta.trial)"""


@pytest.fixture(scope="module")
def report(desk: Any, told: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    file = tmp_path_factory.mktemp("report") / "two_rates.html"
    desk.json("report", "two_rates", "--out", str(file))
    page = browser.new_page(offline=True)
    page.wrong = []
    page.on("console", lambda said: page.wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    yield page
    assert page.wrong == []
    page.close()


def test_every_figure_is_drawn(report: Any) -> None:
    assert report.wrong == []
    assert report.evaluate("[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))")


def test_the_slider_changes_what_an_answer_means(report: Any) -> None:
    seen = []
    for position in ("1", "49"):
        report.locator("#prevalence-input").fill(position)
        seen.append([report.text_content(f'[data-row="{row}"]') for row in ("referable", "ppv", "npv")])
    assert [row[0] for row in seen] == ["20", "500"], "of 1000 eyes"
    assert seen[0][1:] != seen[1][1:]
    assert report.evaluate("document.getElementById('predictive-values').layout.shapes[0].x0") == pytest.approx(0.5)


def test_a_trial_that_is_chosen_in_one_place_is_marked_in_all(report: Any) -> None:
    report.click('[data-pick="1"]')
    assert report.evaluate(MARKED, "history") == [1]
    assert report.evaluate(STRONG, "curves") == [1]
    assert "Trial 1" in report.inner_text(".chosen")
    report.keyboard.press("Escape")
    assert report.evaluate(MARKED, "history") == []
    assert len(report.evaluate(STRONG, "curves")) == 2
    point = report.locator("#history .scatterlayer path.point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    report.mouse.move(*place)
    report.wait_for_selector("#history .hoverlayer .hovertext", state="attached")
    report.mouse.click(*place)
    assert report.locator("tr.marked").get_attribute("data-trial") == "0"
    report.keyboard.press("Escape")


def test_it_fits_a_phone_and_follows_the_dark_scheme(report: Any) -> None:
    report.set_viewport_size({"width": 390, "height": 800})
    report.emulate_media(color_scheme="dark")
    report.wait_for_function("document.documentElement.scrollWidth <= 390")
    assert report.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 29)"

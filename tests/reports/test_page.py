"""Is a page safe against what names and texts may hold?"""

import plotly.graph_objects as go

from drsearch.reports.page import Section, figure, render, table, text

NASTY = "</script><b onclick='x'>&"


def test_names_and_texts_are_never_markup() -> None:
    chart = go.Figure(go.Scatter(x=[1], y=[2], name=NASTY))
    parts = [text(NASTY), table([NASTY], [[NASTY]], NASTY), figure(chart, NASTY, NASTY)]
    page = render("Report", NASTY, [(NASTY, NASTY)], [Section(NASTY, parts)], NASTY, {1: NASTY})
    assert "<b onclick" not in page
    assert page.count("</script>") == page.count("<script")


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    made = table(["name", "AUC", "share"], [["a", "0.786 [0.673, 0.883]", "–"], ["b", "", "12 %"]])
    assert made.count('class="number"') == 2 * 3

from drsearch.tracking.markdown import note_table


def test_a_table_has_three_dashes_a_column_and_keeps_a_bar_within_a_cell() -> None:
    gap = "\N{NO-BREAK SPACE}" * 4
    assert note_table(("", "value"), [("a|b", "1")]) == [
        f"| {gap} | value{gap} |",
        "|---|---|",
        f"| a\\|b{gap} | 1{gap} |",
    ]

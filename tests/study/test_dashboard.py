"""Does optuna-dashboard open on the study's own database?"""

import json
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from services import HANG_S

from drsearch.errors import StudyError
from drsearch.study.dashboard import dashboard

Begin = Callable[..., Any]


def got(url: str) -> str:
    with urllib.request.urlopen(url, timeout=HANG_S) as answer:
        text: str = answer.read().decode()
    return text


def test_its_pages_show_the_study_and_its_trials(begin: Begin) -> None:
    mine = begin()
    mine.complete(0, 0.75, 0.5, 0.9)
    with dashboard(mine.storage, "mine") as (link, _):
        address, _, page = link.partition("/dashboard")
        assert page == f"/studies/{mine.study._study_id}"
        assert "<title>Optuna Dashboard" in got(link)
        studies = json.loads(got(f"{address}/api/studies"))["study_summaries"]
        assert [study["study_name"] for study in studies] == ["mine"]
        trials = json.loads(got(f"{address}/api{page}?after=0"))["trials"]
        assert [trial["values"] for trial in trials] == [[0.75]]
        with pytest.raises(StudyError) as refused, dashboard(mine.storage, port=int(address.rpartition(":")[2])):
            pass
        assert "cannot be had on 127.0.0.1" in str(refused.value)


def test_where_it_is_not_installed_the_extra_is_named(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(StudyError) as refused, dashboard(begin().storage):
        pass
    assert str(refused.value) == (
        "optuna-dashboard cannot be opened, optuna_dashboard is not installed: pip install 'drsearch[dashboard]'."
    )

"""The shipped server in a browser: who may sign in, and what the page does when a reader tries to write."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Error
from services import when
from shipped import ShippedServer

from drsearch.tracking.mlflow_views import comparison_link

pytestmark = pytest.mark.browser


@pytest.fixture
def signed_in(shipped: ShippedServer, browser: Any) -> Iterator[Callable[[str, str], Any]]:
    """Makes pages for a user and password; the browser asks for both, as it does with basic authentication."""
    contexts = []

    def sign_in(user: str, password: str) -> Any:
        credentials = {"username": user, "password": password} if user else None
        contexts.append(browser.new_context(http_credentials=credentials, viewport={"width": 1600, "height": 1200}))
        return contexts[-1].new_page()

    yield sign_in
    for context in contexts:
        context.close()


def test_the_pages_open_with_a_password_only(shipped: ShippedServer, signed_in: Callable[[str, str], Any]) -> None:
    for user, password in (("", ""), ("rita", "not her password"), ("eve", shipped.passwords["rita"])):
        page = signed_in(user, password)
        seen: list[int] = []
        page.on("response", lambda answer, seen=seen: seen.append(answer.status))
        with contextlib.suppress(Error):  # Chromium shows no page where its question is answered by nobody
            page.goto(shipped.url)
        assert set(seen) == {401}
    page = signed_in("rita", shipped.passwords["rita"])
    assert page.goto(shipped.url).status == 200
    page.wait_for_selector("text=Select workspace")


def test_a_reader_follows_the_link_and_is_refused_a_note_that_the_runs_owner_may_write(
    shipped: ShippedServer,
    signed_in: Callable[[str, str], Any],
    screenshots: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", shipped.passwords["alice"])
    client = MlflowClient(shipped.url)
    run = client.create_run(
        client.create_experiment("read-in-a-browser"), tags={"drsearch.kind": "trial"}, run_name="a trial of alice"
    )
    link = comparison_link(shipped.url, "read-in-a-browser")

    def write_a_note(user: str, note: str) -> Any:
        page = signed_in(user, shipped.passwords[user])
        page.goto(link)
        page.wait_for_selector("text=a trial of alice", state="attached")
        page.goto(f"{shipped.url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workspace=default")
        field = page.get_by_test_id("text-area")

        def is_open() -> bool:  # a page that is still loading draws itself anew, and the click was for nothing
            if not field.is_visible():
                page.get_by_role("button", name="Edit description").click()
            with contextlib.suppress(Error):
                field.wait_for(timeout=3_000)
            return bool(field.is_visible())

        when(is_open, "the note to be editable")
        field.fill(note)
        with page.expect_response(lambda answer: answer.url.endswith("/runs/set-tag")) as answered:
            page.get_by_test_id("editable-note-save-button").click()
        return page, answered.value.status

    page, status = write_a_note("rita", "written by a reader")
    assert status == 403
    page.wait_for_selector("text=There was an error submitting your note")
    page.screenshot(path=screenshots / "note-of-a-reader.png")
    assert "mlflow.note.content" not in client.get_run(run.info.run_id).data.tags
    _, status = write_a_note("alice", "written by its owner")
    assert status == 200
    assert client.get_run(run.info.run_id).data.tags["mlflow.note.content"] == "written by its owner"

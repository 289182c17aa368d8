"""The example notebook as it stands, and what interrupting the kernel of a study does."""

import contextlib
import queue
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import launcher
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from services import HANG_S

SPACE = """
import drsearch

def rates(hp):
    hp.Choice("training.learning_rate", [1e-2, 1e-3])

settings = {"study.sampler": "grid", "study.gradcam_eyes": 2, "images.image_px": 64, "training.epochs": EPOCHS,
            "training.checkpoint_every_epochs": 1, "finetune.when": "never"}
"""
EXAMPLE = Path(__file__).parents[2] / "examples" / "first_study.ipynb"
RUN = 'study = drsearch.run_study(rates, "eyes", settings=settings)'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_children: None) -> Path:
    monkeypatch.setattr(launcher, "Popen", subprocess.Popen)
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_the_example_runs_and_shows_progress_tables_figures_and_a_heat_map(folder: Path) -> None:
    notebook = nbformat.read(EXAMPLE, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs hold megabytes: clear them"
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=None, iopub_timeout=HANG_S, resources=where).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    (progress,) = (shown for source, shown in outputs.items() if source.startswith("study = drsearch.run_study("))
    kinds = {kind for each in progress for kind in each.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds, "Rich's live view"
    table = outputs["study"][0].data["text/html"]
    assert "<table" in table and "complete" in table
    assert outputs["study.model"][0].data["text/plain"].startswith("<Model retinopathy/1 @search-best: test AUC ")
    assert any(kind.startswith("application/vnd.plotly") for kind in outputs["study.plot_history()"][0].data)
    *_, predicted, explained = outputs.values()
    assert predicted[0].data["text/plain"].count("RDR") == 3
    assert "image/png" in explained[0].data


def test_interrupting_the_kernel_stops_at_a_checkpoint_and_the_same_cell_resumes(folder: Path) -> None:
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        ask(client, 'import drsearch; drsearch.synthesize("eyes", images=60);')
        ask(client, SPACE.replace("EPOCHS", "40"))
        client.execute(RUN)
        journal = wait_for_epochs(client, folder, n=2)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=None)["content"]
        assert (reply["status"], reply["ename"]) == ("error", "Interrupted")
        assert "the same command resumes it" in reply["evalue"]
        assert "KILLED" in journal.read_text()
        states = ask(client, 'print(drsearch.load_study("rates").trials["state"].to_list())')
        assert states == "['waiting', 'waiting']\n"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def ask(client: Any, code: str) -> str:
    """What a cell prints; an error in it fails the test."""
    printed: list[str] = []

    def hear(message: Any) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hear, timeout=None)["content"]
    assert reply["status"] == "ok", reply
    return "".join(printed)


def wait_for_epochs(client: Any, folder: Path, n: int) -> Path:
    """The journal of the first trial, once it holds so many epochs; an end of the cell before fails the test."""
    while True:
        for journal in folder.glob("home/runs/rates-*/trial-0000/journal.jsonl"):
            if journal.read_text().count('"epoch_seconds"') >= n:
                return journal
        with contextlib.suppress(queue.Empty):
            pytest.fail(str(client.get_shell_msg(timeout=0.2)["content"]))

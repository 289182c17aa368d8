"""Commands on the model in service: serve."""

import contextlib
from typing import Annotated

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Json, Model
from drsearch.cli.output import console, print_json, progress_on
from drsearch.display.output import liner, working
from drsearch.signals import on_hangup


@command("Models")
def serve(
    model: Model,
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port to listen on; 0 picks a free one.")] = 5001,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Address to listen on; the default serves this machine only."),
    ] = "127.0.0.1",
    as_json: Json = False,
) -> None:
    """Serve a registered model over HTTP until Ctrl-C.

    POST a photograph to /predict or /explain, or MLflow's JSON to /invocations; GET /health tells whether it is up. An
    alias such as @champion is looked up once, at the start.

    There is no password and no encryption: read docs/serving.md before you open it to a network.

    Example:
        drsearch serve retinopathy@champion
    """
    from drsearch.api.server import serve as listen

    terminal = console(as_json)
    out = liner(terminal)
    with working(progress_on(terminal), f"loading {model}"):
        service = listen(model, host, port)
    if not service.is_private:
        out("whoever reaches this address may ask: there is no password")
    out(f"{service.model} answers at {service.url}; Ctrl-C ends it")
    print_json(as_json, {"model": service.model, "url": service.url})
    on_hangup(service.stop)
    with contextlib.suppress(KeyboardInterrupt):
        service.run()

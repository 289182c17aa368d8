"""Commands on the model in service: serve."""

import contextlib
from typing import Annotated

import typer

from drsearch.cli.app import app
from drsearch.cli.options import Json
from drsearch.cli.output import console, liner, load_tensorflow, opened_model, print_json
from drsearch.home import Home


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="models:/retinopathy/3 or models:/retinopathy@champion")],
    port: Annotated[int, typer.Option("--port", help="Port to listen at; 0 takes a free one.")] = 5001,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; by default only this machine can ask.")
    ] = "127.0.0.1",
    as_json: Json = False,
) -> None:
    """Let a registered model answer over HTTP: photographs in, class, probability and Grad-CAM out. Ctrl-C ends it.

    POST a photograph to /predict or /explain, or MLflow's JSON to /invocations.
    GET /health says that it is up. An alias is looked up once, at the start.

    There is neither a password nor encryption: read docs/serving.md before you open it to a network.
    """
    from drsearch.release.service import Service, bind

    home, out = Home.from_environment(), liner(console(as_json))
    with bind(host, port) as listening:
        load_tensorflow()
        from drsearch.release.answers import Answerer
        from drsearch.release.registry import Registry

        name = Registry(home.tracking_uri).pinned(model)
        with opened_model(name, home) as grader:
            service = Service(Answerer(grader, name), listening)
        if not service.is_private:
            out("whoever reaches this address may ask: there is no password")
        out(f"{name} answers at {service.url}; Ctrl-C ends it")
        print_json(as_json, {"model": name, "url": service.url})
        with contextlib.suppress(KeyboardInterrupt):
            service.run()

"""How does a registered model answer over HTTP? By the protocol of MLflow's scoring server, and to a photograph alone.

    GET  /health, /ping   200 once the model answers
    POST /predict         a photograph as body; JSON with one `Answer`
    POST /explain         a photograph as body; the PNG of its explanation, and the `Answer` in a header
    POST /invocations     MLflow's: JSON with `dataframe_records` or `dataframe_split`; {"predictions": [...]}, where a
                          photograph that cannot be graded has an `error`

A request that is off is answered with a status of 400 to 415 and MLflow's form of an error: `error_code`, and as
`message` one sentence. Neither a stack trace nor a path of this machine leaves it. No photograph is kept or logged.
"""

import asyncio
import base64
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from drsearch.errors import DrsearchError, PhotographError
from drsearch.serving.answers import Answer, Answerer

MOST_BYTES = 64 * 2**20
"""Of one request's body: an uncompressed TIFF of 4288 x 2848 pixels has 37 million, and 49 million in base64."""
MOST_PHOTOGRAPHS = 64
"""In one request."""
MOST_PARTS = 100_000
"""Commas and opening brackets in one table: three bytes of JSON can become a hundred in memory."""
MOST_WAITING = 64
"""Requests taken in and not answered yet; the next one is told to come again."""
MOST_HELD_BYTES = 8 * MOST_BYTES
"""Of all bodies that wait."""
BODY_TIMEOUT_S = 60.0
"""For the whole body to arrive."""
ANSWER_HEADER = "Drsearch-Answer"
"""Holds the answer, as JSON, where the body is a picture."""

_KEEP_ALIVE_S = 75  # a client that asks again just when its connection is closed loses its request
_SHUTDOWN_TIMEOUT_S = 30
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_CODES = {
    400: "BAD_REQUEST", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND", 408: "REQUEST_TIMEOUT",
    413: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip


class ServiceError(DrsearchError, OSError):
    """The service cannot be offered there."""


def bind(host: str, port: int) -> socket.socket:
    """Take a port before anything slow happens; nobody is listened to yet.

    Raises:
        ServiceError: If the port is taken, or the host none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP: asyncio lets answers go out at once (TCP_NODELAY) only then, and else they wait 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except (OSError, OverflowError) as wrong:
        taken.close()
        why = getattr(wrong, "strerror", None) or str(wrong)
        raise ServiceError(f"--host {host} --port {port}: cannot be had ({why}); --port 0 takes a free one.") from wrong
    return taken


class Service:
    """A model that answers over HTTP, warmed up: its first answer takes as long as the next.

    Args:
        answerer: The model.
        listening: From `bind`. Where it is bound to the loopback interface, only requests to a loopback name are
            answered, so that no web page reaches it by a name of its own (DNS rebinding).
    """

    def __init__(self, answerer: Answerer, listening: socket.socket) -> None:
        self._listening, self.model = listening, answerer.model
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        self.url = f"http://{host}:{port}"
        self.is_private = host in _LOOPBACK
        self._threads = ThreadPoolExecutor(os.cpu_count(), "grader")
        answerer.warm_up()
        app = _app(answerer, self._threads, self.is_private)
        config = uvicorn.Config(
            app, lifespan="off", ws="none", log_config=None, log_level="warning", access_log=False, server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        listening.listen()  # who is told the address may ask at once

    def run(self) -> None:
        """Answer until a signal comes or `stop` is called; what has been taken in is answered first.

        Raises:
            KeyboardInterrupt: After Ctrl-C, in the main thread.
        """
        with self._threads:
            self._server.run(sockets=[self._listening])

    def stop(self) -> None:
        """Take in no more, and let `run` return."""
        self._server.should_exit = True


def _app(answerer: Answerer, threads: ThreadPoolExecutor, loopback_only: bool) -> ASGIApp:
    queue = _Queue()

    def asked(answer: Callable[[bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
        """A route whose work is done in a thread, from a body that was let in."""

        async def route(request: Request) -> Response:
            async with queue.body(request) as body:
                return await asyncio.get_running_loop().run_in_executor(threads, answer, body)

        return route

    def predict(body: bytes) -> Response:
        return JSONResponse(answerer.answer(body).to_json())

    def explain(body: bytes) -> Response:
        answer = answerer.answer(body, explain=True)
        return Response(
            answer.explanation, media_type="image/png", headers={ANSWER_HEADER: json.dumps(answer.to_json())}
        )

    def invocations(body: bytes) -> Response:
        photographs, wants_explanation = _table(body)
        answers = answerer.answers(photographs, wants_explanation)
        return JSONResponse({"predictions": [_row(answer, wants_explanation) for answer in answers]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "model": answerer.model})

    routes = [
        Route("/health", health, methods=["GET"]),
        Route("/ping", health, methods=["GET"]),
        Route("/predict", asked(predict), methods=["POST"]),
        Route("/explain", asked(explain), methods=["POST"]),
        Route("/invocations", asked(invocations), methods=["POST"]),
    ]
    handlers: Mapping[Any, Any] = {HTTPException: _refusal, PhotographError: _refusal, Exception: _refusal}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # a redirection goes to whatever the Host header names
    return _Guard(app, loopback_only)


class _Guard:
    """Lets in programs, and no web pages.

    Browsers send `Origin` with every POST of a page, its own server's pages included. The service has none.
    """

    def __init__(self, app: ASGIApp, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        host = re.sub(r":\d*$", "", headers.get(b"host", b"").decode("latin-1")).lower()
        if b"origin" in headers:
            why = "requests of web pages (with an Origin header) are not answered; ask from a program"
        elif self._loopback_only and host not in _LOOPBACK:
            why = "the Host header names another machine; ask for 127.0.0.1 or localhost"
        else:
            return await self._app(scope, receive, send)
        return await _error(403, why)(scope, receive, send)


class _Queue:
    """Bodies that were taken in and are not answered yet, so many and so large at most."""

    def __init__(self) -> None:
        self._n = 0
        self._n_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """A request's body; it waits in the queue as long as this context is open.

        Raises:
            HTTPException: 408, 413, 415 or 503.
        """
        _check_type(request)
        if self._n >= MOST_WAITING:
            raise _busy()
        self._n += 1
        parts: list[bytes] = []
        try:
            await self._read(request, parts)
            yield b"".join(parts)
        finally:
            self._n -= 1
            self._n_bytes -= sum(map(len, parts))

    async def _read(self, request: Request, parts: list[bytes]) -> None:
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for part in request.stream():
                    size += len(part)
                    if size > MOST_BYTES:
                        most = MOST_BYTES // 2**20
                        raise HTTPException(413, f"the request has more than {most} MB; send fewer photographs")
                    if self._n_bytes + len(part) > MOST_HELD_BYTES:
                        raise _busy()
                    self._n_bytes += len(part)
                    parts.append(part)
        except TimeoutError:
            raise HTTPException(408, f"the request did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
        except ClientDisconnect:
            raise HTTPException(400, "the client went away before the request was whole") from None


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.url.path == "/invocations" and kind != "application/json":
        raise HTTPException(415, "/invocations takes application/json; a photograph alone goes to /predict")
    if request.url.path != "/invocations" and kind in ("multipart/form-data", "application/json"):
        raise HTTPException(
            415, f"{request.url.path} takes the photograph alone as body, as `curl --data-binary` sends it"
        )


def _busy() -> HTTPException:
    return HTTPException(503, "too many requests are waiting; ask again in a second", headers={"Retry-After": "1"})


def _table(body: bytes) -> tuple[list[object], bool]:
    """The photographs of a request to /invocations, and whether they are to be explained.

    Raises:
        HTTPException: 400, if it is not MLflow's form of a table with a column `photograph`.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_PARTS:
        raise HTTPException(400, f"the request has more than {MOST_PARTS} parts; send photographs, few columns beside")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as wrong:  # ValueError: no JSON, no UTF-8, a number of thousands of digits
        raise HTTPException(400, "the request is no JSON; send an object with `dataframe_records`") from wrong
    if not isinstance(found, dict):
        raise HTTPException(400, "the request is no JSON object; send one with `dataframe_records`")
    other = found.keys() - {"dataframe_records", "dataframe_split", "params"}
    if other or len(found.keys() - {"params"}) != 1:
        raise HTTPException(
            400, "the request needs one of `dataframe_records` and `dataframe_split`, and may have `params`"
        )
    photographs = _records(found) if "dataframe_records" in found else _split(found["dataframe_split"])
    if len(photographs) > MOST_PHOTOGRAPHS:
        raise HTTPException(400, f"{len(photographs)} photographs in one request; send {MOST_PHOTOGRAPHS} at most")
    return photographs, _wants_explanation(found.get("params"))


def _records(found: dict[str, Any]) -> list[object]:
    rows = found["dataframe_records"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "photograph" in row for row in rows):
        raise HTTPException(400, '`dataframe_records` is no list of objects {"photograph": "<base64>"}')
    return [row["photograph"] for row in rows]


def _split(table: Any) -> list[object]:
    columns, rows = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if (
        not isinstance(columns, list)
        or columns.count("photograph") != 1
        or not isinstance(rows, list)
        or not all(isinstance(row, list) and len(row) == len(columns) for row in rows)
    ):
        raise HTTPException(400, '`dataframe_split` is not {"columns": ["photograph"], "data": [["<base64>"], ...]}')
    at = columns.index("photograph")
    return [row[at] for row in rows]


def _wants_explanation(params: Any) -> bool:
    if params is None:
        return False
    if (
        not isinstance(params, dict)
        or params.keys() - {"explain"}
        or not isinstance(params.get("explain", False), bool)
    ):
        raise HTTPException(400, '`params` may be {"explain": true} or {"explain": false}')
    return bool(params.get("explain", False))


def _row(answer: Answer, explain: bool) -> dict[str, Any]:
    png = base64.b64encode(answer.explanation).decode("ascii") if answer.explanation is not None else None
    return answer.to_json() | ({"explanation": png} if explain else {})


async def _refusal(request: Request, wrong: Exception) -> Response:
    if isinstance(wrong, PhotographError):
        return _error(400, str(wrong))
    if isinstance(wrong, HTTPException):
        said = wrong.detail
        if wrong.status_code in (404, 405):  # Starlette's own
            said = "there is only GET /health and /ping, and POST /predict, /explain and /invocations"
        return _error(wrong.status_code, said, wrong.headers)
    logging.error("%s %s", request.method, request.url.path, exc_info=wrong)
    return _error(500, "the service failed at this request; its log says why")


def _error(status: int, said: str, headers: Mapping[str, str] | None = None) -> Response:
    body = {"error_code": _CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"), "message": said}
    return JSONResponse(body, status, headers)

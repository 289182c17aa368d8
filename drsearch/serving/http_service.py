"""Serves a registered model over HTTP: one photograph per request, or the protocol of MLflow's scoring server.

    GET  /health, /ping   200 once the model answers
    POST /predict         a photograph as body; answers with an `Answer` as JSON
    POST /explain         a photograph as body; answers with the PNG of its explanation, and the `Answer` in a header
    POST /invocations     MLflow's: JSON with `dataframe_records` or `dataframe_split`; answers {"predictions": [...]},
                          where a photograph that cannot be graded has an `error`

An invalid request gets a status of 400 to 415 and MLflow's form of an error: `error_code`, and one sentence as
`message`, without a stack trace or a path of this machine. No photograph is kept or logged.
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
"""Maximum body of a request: an uncompressed TIFF of 4288 x 2848 pixels has 37 million, in base64 49 million."""
MOST_PHOTOGRAPHS = 64
"""Maximum number in one request."""
MOST_PARTS = 100_000
"""Maximum of commas and opening brackets in a table: three bytes of JSON can become a hundred in memory."""
MOST_WAITING = 64
"""Maximum of requests that wait for their answer; a further one is refused."""
MOST_HELD_BYTES = 8 * MOST_BYTES
"""Maximum of all bodies that wait."""
BODY_TIMEOUT_S = 60.0
"""Time within which the whole body must arrive."""
ANSWER_HEADER = "Drsearch-Answer"
"""Has the answer as JSON if the body is a picture."""

_KEEP_ALIVE_S = 75  # a request on a connection that is just being closed is lost
_SHUTDOWN_TIMEOUT_S = 30
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_CODES = {
    400: "BAD_REQUEST", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND", 408: "REQUEST_TIMEOUT",
    413: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip


class ServiceError(DrsearchError, OSError):
    """The address is not available."""


def bind(host: str, port: int) -> socket.socket:
    """Reserve a port before anything slow happens; the socket does not listen yet.

    Args:
        host: Address of this machine.
        port: 0 takes a free one.

    Returns:
        The bound socket.

    Raises:
        ServiceError: If the port is taken, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With IPPROTO_TCP asyncio sets TCP_NODELAY; without it answers wait for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as wrong:
        listening.close()
        why = getattr(wrong, "strerror", None) or str(wrong)
        raise ServiceError(f"--host {host} --port {port}: cannot be had ({why}); --port 0 takes a free one.") from wrong
    return listening


class Service:
    """Serves a model over HTTP. The constructor warms the model up, so that the first answer takes no longer.

    Args:
        answerer: The model.
        listening: From `bind`. On the loopback interface only requests to a loopback name are answered, so that no web
            page reaches the service through a name of its own (DNS rebinding).

    Attributes:
        url: The address of the service.
        is_private: Whether it listens on the loopback interface only.
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
        listening.listen()  # requests may come as soon as the address is printed

    def run(self) -> None:
        """Serve until a signal comes or `stop` is called; requests that were accepted are answered first.

        Raises:
            KeyboardInterrupt: After Ctrl-C, in the main thread.
        """
        with self._threads:
            self._server.run(sockets=[self._listening])

    def stop(self) -> None:
        """Accept no more requests, and let `run` return."""
        self._server.should_exit = True


def _app(answerer: Answerer, threads: ThreadPoolExecutor, loopback_only: bool) -> ASGIApp:
    queue = _Queue()

    def queued(answer: Callable[[bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
        """A route that answers in a thread, with the body as the queue accepts it."""

        async def route(request: Request) -> Response:
            async with queue.body(request) as body:
                return await asyncio.get_running_loop().run_in_executor(threads, answer, body)

        return route

    def predict(body: bytes) -> Response:
        return JSONResponse(answerer.answer(body).to_json())

    def explain(body: bytes) -> Response:
        png, answer = answerer.explanation(body)
        return Response(png, media_type="image/png", headers={ANSWER_HEADER: json.dumps(answer.to_json())})

    def invocations(body: bytes) -> Response:
        photographs, wants_explanation = _table(body)
        answers = answerer.answers(photographs, wants_explanation)
        return JSONResponse({"predictions": [_row(answer, wants_explanation) for answer in answers]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "model": answerer.model})

    routes = [
        Route("/health", health, methods=["GET"]),
        Route("/ping", health, methods=["GET"]),
        Route("/predict", queued(predict), methods=["POST"]),
        Route("/explain", queued(explain), methods=["POST"]),
        Route("/invocations", queued(invocations), methods=["POST"]),
    ]
    handlers: Mapping[Any, Any] = {HTTPException: _refusal, PhotographError: _refusal, Exception: _refusal}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # a redirection goes to whatever the Host header names
    return _Guard(app, loopback_only)


class _Guard:
    """Lets programs in, but no web pages: browsers send `Origin` with every POST of a page."""

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
    """Bodies that wait for their answer, limited in number and size."""

    def __init__(self) -> None:
        self._n = 0
        self._n_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Yields a request's body, which counts as waiting until the context ends.

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
    """The photographs of a request to /invocations, and whether it wants explanations.

    Raises:
        HTTPException: 400 if it is not MLflow's form of a table with a column `photograph`.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_PARTS:
        raise HTTPException(400, f"the request has more than {MOST_PARTS} parts; send photographs, few columns beside")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as wrong:  # ValueError: no JSON, no UTF-8, a number of thousands of digits
        raise HTTPException(400, "the request is not JSON; send an object with `dataframe_records`") from wrong
    if not isinstance(request, dict):
        raise HTTPException(400, "the request is not a JSON object; send one with `dataframe_records`")
    if request.keys() - {"params"} not in ({"dataframe_records"}, {"dataframe_split"}):
        raise HTTPException(
            400, "the request needs one of `dataframe_records` and `dataframe_split`, and may have `params`"
        )
    records = "dataframe_records" in request
    photographs = _of_records(request["dataframe_records"]) if records else _of_split(request["dataframe_split"])
    if len(photographs) > MOST_PHOTOGRAPHS:
        raise HTTPException(400, f"{len(photographs)} photographs in one request; send {MOST_PHOTOGRAPHS} at most")
    return photographs, _wants_explanation(request.get("params"))


def _of_records(rows: Any) -> list[object]:
    if isinstance(rows, list) and all(isinstance(row, dict) and "photograph" in row for row in rows):
        return [row["photograph"] for row in rows]
    raise HTTPException(400, '`dataframe_records` is not a list of objects {"photograph": "<base64>"}')


def _of_split(table: Any) -> list[object]:
    match table:
        case {"columns": list(columns), "data": list(rows)} if columns.count("photograph") == 1:
            if all(isinstance(row, list) and len(row) == len(columns) for row in rows):
                return [row[columns.index("photograph")] for row in rows]
    raise HTTPException(400, '`dataframe_split` is not {"columns": ["photograph"], "data": [["<base64>"], ...]}')


def _wants_explanation(params: Any) -> bool:
    match params:
        case None | {} if not params:
            return False
        case {"explain": bool(explain)} if len(params) == 1:
            return explain
    raise HTTPException(400, '`params` may be {"explain": true} or {"explain": false}')


def _row(answer: Answer, explain: bool) -> dict[str, Any]:
    png = base64.b64encode(answer.explanation).decode("ascii") if answer.explanation is not None else None
    return answer.to_json() | ({"explanation": png} if explain else {})


async def _refusal(request: Request, wrong: Exception) -> Response:
    if isinstance(wrong, PhotographError):
        return _error(400, str(wrong))
    if isinstance(wrong, HTTPException):
        message = wrong.detail
        if wrong.status_code in (404, 405):  # Starlette's own
            message = "there is only GET /health and /ping, and POST /predict, /explain and /invocations"
        return _error(wrong.status_code, message, wrong.headers)
    logging.error("%s %s", request.method, request.url.path, exc_info=wrong)
    return _error(500, "the service failed at this request; its log says why")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = {"error_code": _CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"), "message": message}
    return JSONResponse(body, status, headers)

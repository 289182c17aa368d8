"""The service, asked over real connections: what it answers, what it refuses, and that it lives on."""

import base64
import http.client
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.parse import urlsplit

import cv2
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import LOSSLESS, LOSSY
from services import HANG_S

from drsearch.data.decode import read_photograph
from drsearch.serving import http_service as service_module
from drsearch.serving.answers import Answerer
from drsearch.serving.grader import Grader
from drsearch.serving.http_service import MOST_BYTES, MOST_PHOTOGRAPHS, Service, ServiceError, bind

MODEL = "models:/retinopathy/7"
JSON = {"Content-Type": "application/json"}
EXPECTED = {
    "label",
    "probability",
    "confidence",
    "threshold",
    "distance",
    "warning",
    "quality",
    "reason",
    "error",
    "model",
}


@pytest.fixture(scope="module")
def service(grader: Grader) -> Iterator[Service]:
    made = Service(Answerer(grader, MODEL), bind("127.0.0.1", 0))
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    status, said = ask(made, "GET", "/health")
    made.stop()
    thread.join(HANG_S)
    assert (status, said["status"]) == (200, "ok")  # after everything that was done to it
    assert not thread.is_alive()


def ask(
    service: Service, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(str(urlsplit(service.url).netloc), timeout=HANG_S)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(said) if answer.headers["Content-Type"] == "application/json" else said


def invoke(service: Service, told: Any) -> tuple[int, Any]:
    return ask(service, "POST", "/invocations", json.dumps(told).encode(), JSON)


def records(*photographs: bytes) -> dict[str, Any]:
    return {"dataframe_records": [{"photograph": base64.b64encode(data).decode()} for data in photographs]}


def recoded(photograph: bytes, suffix: str) -> bytes:
    pixels = cv2.cvtColor(read_photograph(photograph), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises what nobody can hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def jpeg_bomb(photograph: bytes, side: int) -> bytes:
    """A JPEG whose header promises a picture of 65,000 pixels by as many."""
    at = photograph.index(b"\xff\xc0")
    return photograph[: at + 5] + struct.pack(">HH", side, side) + photograph[at + 9 :]


def many_scans(photograph: bytes) -> bytes:
    """A progressive JPEG whose last scan comes two hundred times."""
    pixels = cv2.cvtColor(read_photograph(photograph), cv2.COLOR_RGB2BGR)
    made = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    at = made.rindex(b"\xff\xda")
    return bytes(made[:at] + made[at:-2] * 200 + made[-2:])


def black() -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((178, 268, 3), np.uint8))[1].tobytes())


def test_a_photograph_as_body_is_answered_with_what_the_model_says(
    service: Service, grader: Grader, photograph: bytes
) -> None:
    status, said = ask(service, "POST", "/predict", photograph)
    (verdict,) = grader.grade([photograph])
    assert status == 200
    assert said == {
        "label": verdict.label, "probability": pytest.approx(verdict.probability, abs=1e-6),
        "confidence": pytest.approx(verdict.confidence, abs=1e-6), "threshold": 0.5,
        "distance": pytest.approx(verdict.distance, abs=1e-6), "warning": None, "error": None, "model": MODEL,
        "quality": pytest.approx(grader.eye(photograph).quality.score, abs=6e-4), "reason": None,
    }  # fmt: skip


def test_photographs_of_every_format_get_the_answer_of_the_plain_picture(
    service: Service, grader: Grader, photograph: bytes
) -> None:
    eye = read_photograph(photograph)
    (plain,) = grader.grade([eye])
    files = {kind: write(eye) for kind, write in (LOSSLESS | LOSSY).items()}
    status, said = invoke(service, records(*files.values()))
    assert status == 200
    for kind, row, verdict in zip(files, said["predictions"], grader.grade(list(files.values())), strict=True):
        assert row["probability"] == pytest.approx(verdict.probability, abs=1e-6), kind
        assert verdict.probability == pytest.approx(plain.probability, abs=1e-6 if kind in LOSSLESS else 0.02), kind
    for kind in ("TIFF, 12 bits", "WebP", "PPM", "DICOM, JPEG"):
        assert ask(service, "POST", "/predict", files[kind]) == (200, ANY), kind


def test_many_photographs_are_answered_in_their_order(service: Service, grader: Grader, eyes: Path) -> None:
    photographs = [path.read_bytes() for path in sorted(eyes.glob("images/train/*.jpg"))[:8]]
    wanted = [verdict.probability for verdict in grader.grade(photographs)]
    split = {"columns": ["eye", "photograph"], "index": list(range(8)), "data": [
        [number, base64.encodebytes(data).decode()] for number, data in enumerate(photographs)]}  # fmt: skip
    for told in (records(*photographs), {"dataframe_split": split}):
        status, said = invoke(service, told)
        assert status == 200
        assert [row["probability"] for row in said["predictions"]] == pytest.approx(wanted, abs=1e-6)
        assert all(row.keys() == EXPECTED for row in said["predictions"])
    assert invoke(service, {"dataframe_records": []}) == (200, {"predictions": []})


def test_an_explanation_is_a_png_on_request(service: Service, photograph: bytes) -> None:
    status, png = ask(service, "POST", "/explain", photograph)
    assert status == 200
    height, width, _ = read_photograph(photograph).shape
    shown = read_photograph(png)
    assert shown.shape[1] == width and shown.shape[0] > height, "words below"
    status, said = invoke(service, {**records(photograph), "params": {"explain": True}})
    assert base64.b64decode(said["predictions"][0]["explanation"]) == png
    large = cv2.resize(read_photograph(photograph), (3000, 2000))
    status, png = ask(service, "POST", "/explain", bytes(cv2.imencode(".jpg", large[..., ::-1])[1].tobytes()))
    shown = read_photograph(png)
    assert shown.shape[1] == 1024 and 683 < shown.shape[0] < 800


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (lambda eye: b"", "the photograph is empty"),
    "no picture": (lambda eye: b"Image name,Retinopathy grade\n", "the photograph is no picture"),
    "another picture format": (lambda eye: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                               "the photograph is no picture"),
    "cut short": (lambda eye: eye[:-2000], "the photograph cannot be read whole: "),
    "a PNG cut short": (lambda eye: recoded(eye, ".png")[:-5000], "the photograph cannot be read whole: "),
    "no retina": (lambda eye: black(), "the photograph shows no retina: nothing stands out from the background"),
    "a bomb": (lambda eye: bomb(100_000, 100_000), "the photograph "),
    "a bomb below Pillow's limit": (lambda eye: bomb(8_001, 8_000),
        "the photograph is too large: 8001 x 8000 pixels, at most 64 million are read"),
    "a JPEG of many scans": (lambda eye: many_scans(eye),
        "the photograph has 209 scans, at most 100 are read; save it as a JPEG of one scan"),
    "a JPEG bomb": (lambda eye: jpeg_bomb(eye, 65_000),
        "the photograph is too large: 65000 x 65000 pixels, at most 64 million are read"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("route", ["/predict", "/explain"])
def test_what_is_no_photograph_of_an_eye_is_refused_in_a_sentence(
    service: Service, photograph: bytes, what: str, route: str
) -> None:
    make, sentence = REFUSED[what]
    status, said = ask(service, "POST", route, make(photograph))
    assert status == 400
    assert said.keys() == {"error_code", "message"} and said["error_code"] == "BAD_REQUEST"
    assert said["message"].startswith(sentence) and "\n" not in said["message"]


@pytest.mark.parametrize("explain", [False, True])
def test_of_many_photographs_the_bad_ones_are_named_and_the_others_graded(
    service: Service, grader: Grader, photograph: bytes, explain: bool
) -> None:
    bad = {what: make(photograph) for what, (make, _) in REFUSED.items()}
    told = records(photograph, *bad.values(), photograph)
    told["dataframe_records"][1]["photograph"] = "/etc/passwd.jpg"
    told["dataframe_records"][2]["photograph"] = None
    status, said = invoke(service, {**told, "params": {"explain": explain}})
    first, *refused, last = said["predictions"]
    assert status == 200
    assert first == last and first["error"] is None
    assert first["probability"] == pytest.approx(grader.grade([photograph])[0].probability, abs=1e-6)
    sentences = [sentence for _, sentence in REFUSED.values()]
    sentences[:2] = [
        "the photograph is not base64; encode the file's bytes, as `base64 eye.jpg` does",
        "the photograph is NoneType, not a photograph; give a file's bytes in base64",
    ]
    empty = dict.fromkeys(first, None) | {"threshold": 0.5, "model": MODEL}
    for row, sentence in zip(refused, sentences, strict=True):
        assert row == empty | {"error": row["error"]}
        assert row["error"].startswith(sentence) and "\n" not in row["error"]


def test_what_is_unlike_the_training_eyes_is_answered_with_a_warning(service: Service) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (178, 268, 3), np.uint8), (0, 0), 12)
    clouds = cv2.normalize(noise, noise.copy(), 0, 255, cv2.NORM_MINMAX)
    picture = bytes(cv2.imencode(".png", (clouds * np.array([0.2, 0.5, 1.0])).astype(np.uint8))[1].tobytes())
    status, said = ask(service, "POST", "/predict", picture)
    assert status == 200
    assert said["distance"] > 1
    assert said["warning"].startswith("unlike the ") and said["warning"].endswith("do not rely on this answer")
    assert invoke(service, records(picture))[1]["predictions"][0]["warning"] == said["warning"]


def test_an_explanation_comes_with_the_answer_that_it_explains(service: Service, photograph: bytes) -> None:
    connection = http.client.HTTPConnection(str(urlsplit(service.url).netloc), timeout=60)
    connection.request("POST", "/explain", photograph)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert json.loads(answer.headers["Drsearch-Answer"]) == ask(service, "POST", "/predict", photograph)[1]


NO_TABLE = "the request needs one of `dataframe_records` and `dataframe_split`, and may have `params`"
NO_RECORDS = '`dataframe_records` is not a list of objects {"photograph": "<base64>"}'
NO_PARAMS = '`params` may be {"explain": true} or {"explain": false}'
NO_SPLIT = '`dataframe_split` is not {"columns": ["photograph"], "data": [["<base64>"], ...]}'


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ([], "the request is not a JSON object; send one with `dataframe_records`"),
        ({}, NO_TABLE),
        ({"inputs": []}, NO_TABLE),
        ({**records(b""), "dataframe_split": {}}, NO_TABLE),
        ({"dataframe_records": {"photograph": "x"}}, NO_RECORDS),
        ({"dataframe_records": [{"picture": "x"}]}, NO_RECORDS),
        ({"dataframe_split": {"columns": ["photograph"], "data": [["x", "y"]]}}, NO_SPLIT),
        ({"dataframe_split": {"columns": ["photograph", "photograph"], "data": []}}, NO_SPLIT),
        ({"dataframe_split": 7}, NO_SPLIT),
        ({"dataframe_records": [], "params": {"explain": 1}}, NO_PARAMS),
        ({"dataframe_records": [], "params": {"path": "/"}}, NO_PARAMS),
        ({"dataframe_records": [{"photograph": ""}] * (MOST_PHOTOGRAPHS + 1)},
         f"{MOST_PHOTOGRAPHS + 1} photographs in one request; send {MOST_PHOTOGRAPHS} at most"),
    ],
)  # fmt: skip
def test_a_table_that_is_off_is_refused_with_what_to_send(service: Service, told: Any, sentence: str) -> None:
    assert invoke(service, told) == (400, {"error_code": "BAD_REQUEST", "message": sentence})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"a": ' * 90_000, b"[" * 90_000, b"1" * 10_000, b'"\\ud800"', b"{}" + b"x" * 1000],
    ids=["nothing", "cut", "no UTF-8", "deep objects", "deep lists", "a long number", "half a character", "more"],
)
def test_what_is_no_json_is_refused(service: Service, body: bytes) -> None:
    status, said = ask(service, "POST", "/invocations", body, JSON)
    assert status == 400
    assert said["message"].startswith(("the request is not JSON;", "the request is not a JSON object;"))


@pytest.mark.parametrize("part", [b"{},", b"[", b'"ab",'])
def test_a_table_that_would_fill_the_memory_is_refused_unread(service: Service, part: bytes) -> None:
    body = b'{"dataframe_records": [' + part * 2_000_000
    sentence = "the request has more than 100000 parts; send photographs, few columns beside"
    assert ask(service, "POST", "/invocations", body, JSON) == (
        400,
        {"error_code": "BAD_REQUEST", "message": sentence},
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "sentence"),
    [
        ("POST", "/invocations", {"Content-Type": "text/csv"}, 415,
         "/invocations takes application/json; a photograph alone goes to /predict"),
        ("POST", "/invocations", {}, 415, "/invocations takes application/json; a photograph alone goes to /predict"),
        ("POST", "/predict", {"Content-Type": "multipart/form-data; boundary=x"}, 415,
         "/predict takes the photograph alone as body, as `curl --data-binary` sends it"),
        ("GET", "/predict", {}, 405,
         "there is only GET /health and /ping, and POST /predict, /explain and /invocations"),
        ("GET", "/../../etc/passwd", {}, 404,
         "there is only GET /health and /ping, and POST /predict, /explain and /invocations"),
        ("POST", "/predict", {"Origin": "https://evil.example"}, 403,
         "requests of web pages (with an Origin header) are not answered; ask from a program"),
        ("POST", "/predict", {"Origin": "null"}, 403,
         "requests of web pages (with an Origin header) are not answered; ask from a program"),
        ("GET", "/health", {"Host": "evil.example:5001"}, 403,
         "the Host header names another machine; ask for 127.0.0.1 or localhost"),
        ("GET", "/health", {"Host": "127.0.0.1.evil.example"}, 403,
         "the Host header names another machine; ask for 127.0.0.1 or localhost"),
    ],
)  # fmt: skip
def test_who_asks_otherwise_is_told_how(
    service: Service, method: str, path: str, headers: dict[str, str], status: int, sentence: str
) -> None:
    assert ask(service, method, path, b"x" if method == "POST" else b"", headers) == (
        status,
        {"error_code": service_module._CODES.get(status, "BAD_REQUEST"), "message": sentence},
    )


def test_a_body_that_is_too_large_is_refused_and_not_kept(service: Service) -> None:
    for body in (bytes(MOST_BYTES + 1), bytes(3 * MOST_BYTES)):  # the whole of it is sent before the answer is read
        status, said = ask(service, "POST", "/predict", body)
        assert status == 413
        assert said["message"] == "the request has more than 64 MB; send fewer photographs"


def test_opened_to_the_network_it_answers_to_any_name_and_still_to_no_web_page(grader: Grader) -> None:
    made = Service(Answerer(grader, MODEL), bind("0.0.0.0", 0))
    assert not made.is_private
    thread = threading.Thread(target=made.run)
    thread.start()
    assert ask(made, "GET", "/health", headers={"Host": "clinic.example"})[0] == 200
    assert ask(made, "GET", "/health", headers={"Host": "clinic.example", "Origin": "http://clinic.example"})[0] == 403
    made.stop()
    thread.join()


def test_localhost_and_its_addresses_are_answered(service: Service) -> None:
    port = urlsplit(service.url).port
    for host in (f"localhost:{port}", "LOCALHOST", "[::1]:5001", "127.0.0.1"):
        assert ask(service, "GET", "/ping", headers={"Host": host}) == (200, {"status": "ok", "model": MODEL})


def test_answers_on_one_connection_do_not_wait_for_the_network(service: Service) -> None:
    connection = http.client.HTTPConnection(str(urlsplit(service.url).netloc), timeout=HANG_S)
    connection.request("GET", "/health")
    connection.getresponse().read()
    sockets = [each.transport.get_extra_info("socket") for each in service._server.server_state.connections]
    mine = [each for each in sockets if each.getpeername() == connection.sock.getsockname()]
    # TCP would hold the second half of every answer back for 40 ms.
    assert [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0 for each in mine] == [True]
    connection.close()


def test_the_first_photograph_finds_the_network_traced(
    files: dict[str, Path], photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    call = keras.Model.__call__
    monkeypatch.setattr(keras.Model, "__call__", lambda *a, **k: (calls.append(a[0]), call(*a, **k))[1])
    answerer = Answerer(Grader(files["model.keras"].parent), MODEL)
    Service(answerer, bind("127.0.0.1", 0))._listening.close()
    n_traced = len(calls)
    assert n_traced > 0
    answerer.answers([photograph])
    assert len(calls) == n_traced


def half_sent(service: Service, photograph: bytes) -> socket.socket:
    """A request that was taken in, and whose body is waited for."""
    parts = urlsplit(service.url)
    connection = socket.create_connection((str(parts.hostname), parts.port or 0), timeout=HANG_S)
    head = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(photograph)}", "Expect: 100-continue"]
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    assert received(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100")  # it is in the queue
    return connection


def received(connection: socket.socket, end: bytes) -> bytes:
    """What comes on a connection, up to and with `end`, and nothing of what follows."""
    data = b""
    while not data.endswith(end):
        data += (byte := connection.recv(1))
        assert byte, data
    return data


def test_who_comes_when_the_queue_is_full_is_told_so_and_nobody_else_is_lost(
    service: Service, photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "MOST_WAITING", 1)
    with half_sent(service, photograph) as waiting:
        status, said = ask(service, "POST", "/predict", photograph + bytes(8_000_000))
        assert (status, said["message"]) == (503, "too many requests are waiting; ask again in a second")
        assert ask(service, "GET", "/health")[0] == 200
        waiting.sendall(photograph)
        assert received(waiting, b"\r\n") == b"HTTP/1.1 200 OK\r\n"
    assert ask(service, "POST", "/predict", photograph)[0] == 200


def test_bodies_that_wait_hold_so_much_memory_at_most(
    service: Service, photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "MOST_HELD_BYTES", len(photograph) - 1)
    assert ask(service, "POST", "/predict", photograph + bytes(8_000_000))[0] == 503
    monkeypatch.undo()
    assert ask(service, "POST", "/predict", photograph)[0] == 200


def test_a_body_that_never_comes_holds_its_place_for_a_while_only(
    service: Service, photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "BODY_TIMEOUT_S", 0.3)
    with half_sent(service, photograph) as waiting:
        assert received(waiting, b"\r\n").startswith(b"HTTP/1.1 408")
    with half_sent(service, photograph):  # and this client goes away
        pass
    assert ask(service, "POST", "/predict", photograph)[0] == 200


def test_requests_at_once_all_get_their_own_answer(service: Service, grader: Grader, eyes: Path) -> None:
    photographs = [path.read_bytes() for path in sorted(eyes.glob("images/train/*.jpg"))[:12]]
    wanted = [verdict.probability for verdict in grader.grade(photographs)]
    explained = [ask(service, "POST", "/explain", data)[1] for data in photographs[:3]]

    def client(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for _ in range(12):
            i, kind = int(draw.integers(len(photographs))), draw.integers(10)
            if kind == 0:
                assert ask(service, "POST", "/predict", photographs[i][:-500])[0] == 400
            elif kind == 1:
                assert ask(service, "POST", "/explain", photographs[i % 3]) == (200, explained[i % 3])
            elif kind < 4:
                j = int(draw.integers(len(photographs)))
                _, said = invoke(service, records(photographs[i], photographs[j]))
                found = [row["probability"] for row in said["predictions"]]
                assert found == pytest.approx([wanted[i], wanted[j]], abs=1e-6)
            else:
                status, said = ask(service, "POST", "/predict", photographs[i])
                assert (status, said["probability"]) == (200, pytest.approx(wanted[i], abs=1e-6))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(client, range(8)))


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.sampled_from(["photograph", "data"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["photograph", "columns", "data", "params"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
tables = st.fixed_dictionaries(
    {},
    optional={"dataframe_records": anything, "dataframe_split": anything, "params": anything, "inputs": anything},
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/predict", "/explain", "/invocations", "/invocations?a=%00", "/predict/"]),
    st.binary(max_size=300) | (tables | anything).map(lambda told: json.dumps(told).encode()),
    st.sampled_from(["application/json", "application/json; charset=utf-16", "text/plain", "image/jpeg", ";", ""]),
)
def test_whatever_is_sent_is_answered_in_form(service: Service, path: str, body: bytes, kind: str) -> None:
    status, said = ask(service, "POST", path, body, {"Content-Type": kind})
    if status == 200:
        assert all(row["label"] is None and row["error"] for row in said["predictions"])
        return
    assert 400 <= status < 500 and said.keys() == {"error_code", "message"}
    assert not any(trace in said["message"] for trace in ("Traceback", "site-packages", ".py", "\n"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_photograph_with_damaged_bytes_is_graded_or_refused(
    service: Service, photograph: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(
        data.draw(st.sampled_from([photograph, recoded(photograph, ".png"), recoded(photograph, ".tiff")]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 700)))] = data.draw(st.integers(0, 255))
    status, said = ask(service, "POST", "/predict", bytes(damaged))
    assert status in (200, 400)
    assert said.keys() == (EXPECTED if status == 200 else {"error_code", "message"})
    assert not any(trace in said.get("message", "") for trace in ("\n", " at 0x", ".py", "/tmp"))


def test_a_request_that_is_no_http_is_refused(service: Service) -> None:
    parts = urlsplit(service.url)
    for sent in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=HANG_S) as connection:
            connection.sendall(sent + b"\r\n\r\n")
            assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 4")


def test_a_port_that_is_taken_is_refused_before_anything_else() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError) as refused:
            bind("127.0.0.1", port)
    assert str(refused.value) == (
        f"--host 127.0.0.1 --port {port}: cannot be had (Address already in use); --port 0 takes a free one."
    )


def test_a_bug_is_told_to_the_log_and_not_to_the_client(
    grader: Grader, photograph: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    made = Service(Answerer(grader, MODEL), bind("127.0.0.1", 0))
    thread = threading.Thread(target=made.run)
    thread.start()
    with caplog.at_level("ERROR"):
        made._threads.shutdown()  # every task handed to it raises from now on
        said = ask(made, "POST", "/predict", photograph)
    made.stop()
    thread.join()
    assert said == (
        500,
        {"error_code": "INTERNAL_ERROR", "message": "the service failed at this request; its log says why"},
    )
    assert "cannot schedule new futures" in caplog.text


def test_a_photograph_below_the_quality_of_the_training_eyes_is_not_gradable(
    service: Service, photograph: bytes
) -> None:
    blurred = cv2.GaussianBlur(read_photograph(photograph), (0, 0), 6)
    bad = cv2.imencode(".png", blurred[..., ::-1])[1].tobytes()
    status, said = ask(service, "POST", "/predict", bad)
    assert status == 200 and (said["label"], said["probability"], said["error"]) == ("not gradable", None, None)
    assert said["reason"].startswith("the photograph is out of focus, or blurred: its sharpness is 0.0")
    status, table = invoke(service, {**records(bad, photograph), "params": {"explain": True}})
    row, other = table["predictions"]
    assert status == 200 and row == {**said, "explanation": None}
    assert other["probability"] is not None and other["explanation"]
    status, said = ask(service, "POST", "/explain", bad)
    assert status == 400 and said["message"].startswith("not gradable: the photograph is out of focus")

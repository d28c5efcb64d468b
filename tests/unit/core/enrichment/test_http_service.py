"""A real HTTP server on loopback, which is slow, wrong, huge, or gone; and keys that would leave their place."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from _http import Handler, Server

from jobs.core.enrichment.asking import NoAnswer
from jobs.core.enrichment.http_service import NO_PLACE, TOO_LONG, UNSOUND, Busy, HttpService, Pace, ServiceRefused


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.stop()


def get(server: Server, *keys: str, **more: Any) -> list[Any]:
    service = HttpService("rate", f"{server.url}/rates/{{currency}}", ["currency"], **more)
    return asked(service, [json.dumps({"currency": key}) for key in keys])


def asked(service: HttpService, keys: list[str]) -> list[Any]:
    with service.open() as ask:
        return list(ask(keys).values())


def test_a_get_for_each_key_with_its_headers(server: Server) -> None:
    server.replies(lambda handler, _: handler.say(404 if "XXX" in handler.path else 200, handler.path.encode()))
    assert get(server, "EUR", "XXX", headers={"Authorization": "Bearer s3cret"}) == [b"/rates/EUR", None]
    assert [path for path, _ in server.asked] == ["/rates/EUR", "/rates/XXX"]
    assert all(headers["Authorization"] == "Bearer s3cret" for _, headers in server.asked)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("../admin", "..%2Fadmin"),
        ("a/b", "a%2Fb"),
        ("a?b=c&d#e", "a%3Fb%3Dc%26d%23e"),
        ("http://evil/", "http%3A%2F%2Fevil%2F"),
        ("a\r\nHost: evil", "a%0D%0AHost%3A%20evil"),
        ("\"'`;--", "%22%27%60%3B--"),
        ("%2e%2e", "%252e%252e"),
        ("{currency}", "%7Bcurrency%7D"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
        ("\x00", "%00"),
    ],
)
def test_no_key_leaves_its_place(server: Server, key: str, path: str) -> None:
    server.replies(lambda handler, _: handler.say(200, b"{}"))
    assert get(server, key) == [b"{}"]
    assert [found for found, _ in server.asked] == [f"/rates/{path}"]


def test_a_key_that_would_be_the_folder_itself_is_not_asked_for(server: Server) -> None:
    assert get(server, "", ".", "..") == [NO_PLACE] * 3
    assert server.asked == []


def test_numbers_and_several_columns(server: Server) -> None:
    server.replies(lambda handler, _: handler.say(200, handler.path.encode()))
    service = HttpService("x", f"{server.url}/{{country}}/{{id}}?of={{id}}", ["country", "id"])
    keys = ['{"country":"d/e","id":7}', '{"id":8,"country":"at"}']  # the config may name them in any order
    assert asked(service, keys) == [b"/d%2Fe/7?of=7", b"/at/8?of=8"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_said_to(server: Server, status: int) -> None:
    server.replies(lambda handler, _: handler.say(status))
    with pytest.raises(Busy, match=f"the service answers {status}"):
        get(server, "EUR")


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 405, 418])
def test_what_will_not_pass_names_its_status(server: Server, status: int) -> None:
    server.replies(lambda handler, _: handler.say(status, Location="http://127.0.0.1:9/elsewhere"))
    with pytest.raises(ServiceRefused, match=f"the service answers {status}"):
        get(server, "EUR")
    assert len(server.asked) == 1, "no redirect is followed"


@pytest.mark.parametrize("status", [400, 413, 414, 422, 431])
def test_what_is_said_of_one_key_is_no_answer_to_it(server: Server, status: int) -> None:
    server.replies(lambda handler, _: handler.say(status if handler.path.endswith("odd") else 200, b"1"))
    assert get(server, "odd", "EUR", "x" * 70_000) == [NoAnswer(f"the service answers {status}"), b"1", TOO_LONG]


@pytest.mark.parametrize("status", [400, 413, 414, 422, 431])
def test_of_many_keys_it_is_said_of_some(server: Server, status: int) -> None:
    def reply(handler: Handler, body: bytes) -> None:
        keys = json.loads(body)["keys"]
        handler.say(status if {"id": 3} in keys else 200, json.dumps(keys).encode())

    server.replies(reply)
    found = asked(HttpService("x", server.url, ["id"], "POST"), [f'{{"id":{number}}}' for number in range(5)])
    refused = NoAnswer(f"the service answers {status}")
    assert found == [refused if number == 3 else f'{{"id": {number}}}'.encode() for number in range(5)]


def test_a_new_connection_keeps_the_pace(server: Server) -> None:
    server.replies(lambda handler, _: handler.say(200, b"1"))
    service, begun = HttpService("x", f"{server.url}/{{currency}}", ["currency"], per_s=4), time.monotonic()
    for _ in range(3):
        asked(service, ['{"currency": "EUR"}'])
    assert time.monotonic() - begun >= 0.5


def test_a_body_that_is_too_long_is_no_answer_and_is_not_read_to_its_end(server: Server) -> None:
    def endless(handler: Handler, _: str) -> None:
        handler.say(200, **{"Content-Length": str(1 << 40)})
        while True:
            handler.wfile.write(b" " * 65536)

    server.replies(endless)
    assert get(server, "EUR", max_bytes=1 << 20) == [NoAnswer("longer than 1048576 bytes")]


def test_what_is_compressed_unasked_is_no_answer(server: Server) -> None:
    server.replies(lambda handler, _: handler.say(200, b"x", **{"Content-Encoding": "gzip"}))
    assert get(server, "EUR") == [NoAnswer("compressed, which was not asked for")]
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_a_service_that_says_nothing_or_drips_takes_no_longer_than_it_may(server: Server) -> None:
    def silent(handler: Handler, _: str) -> None:
        time.sleep(60)

    def drips(handler: Handler, _: str) -> None:
        handler.say(200, **{"Content-Length": "1000"})
        for _number in range(1000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    for reply, said in ((silent, "no answer within 0.3 s"), (drips, "not whole within 0.3 s")):
        server.replies(reply)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=said):
            get(server, "EUR", timeout_s=0.3)
        assert time.monotonic() - began < 20


def test_a_service_that_is_gone_or_hangs_up_may_come_back(server: Server) -> None:
    server.replies(lambda handler, _: handler.connection.close())
    with pytest.raises(ConnectionError):
        get(server, "EUR")
    server.stop()
    with pytest.raises(ConnectionError, match="ConnectError"):
        get(server, "EUR")


def post(server: Server, reply: Any, **more: Any) -> list[Any]:
    server.replies(
        lambda handler, _: handler.say(200, reply if isinstance(reply, bytes) else json.dumps(reply).encode())
    )
    service = HttpService("x", f"{server.url}/many", ["id", "of"], "POST", **more)
    return asked(service, ['{"id":1,"of":"a"}', '{"id":2,"of":"a"}'])


def test_a_post_for_many_keys(server: Server) -> None:
    found = post(server, [{"of": "a", "id": 2, "v": 1.10}, {"id": 9, "of": "a"}])
    assert found == [None, b'{"of": "a", "id": 2, "v": 1.1}']
    assert server.asked == [("/many", '{"keys": [{"id":1,"of":"a"},{"id":2,"of":"a"}]}')]


def test_answers_at_a_path(server: Server) -> None:
    assert post(server, {"data": {"rows": [{"id": 1, "of": "a"}]}}, answers="data.rows") == [
        b'{"id": 1, "of": "a"}',
        None,
    ]


@pytest.mark.parametrize("reply", [b"{", b"{}", b"[1", {"rows": 1}, {"data": []}])
def test_what_is_no_list_is_no_answer_to_any_key(server: Server, reply: Any) -> None:
    found = post(server, reply, answers="rows")
    assert all(isinstance(one, NoAnswer) and one.why.startswith("no list of answers: ") for one in found)


def test_beside_one_that_is_not_sound_what_has_no_answer_may_have_been_it(server: Server) -> None:
    sound = b'{"id": 2, "of": "a"}'
    for odd in (b'{"id": "\xff"}', b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        (first, second) = post(server, b"[%s, %s]" % (sound, odd))
        assert isinstance(first, NoAnswer) and (isinstance(second, NoAnswer) or second == sound), odd[:20]
    assert post(server, b'[{"id": 2, "of": "a"}, {"id": "\xff"}]') == [UNSOUND, sound]


def test_answers_too_long_together_are_asked_for_by_halves(server: Server) -> None:
    keys = [f'{{"id":{number}}}' for number in range(5)]

    def reply(handler: Handler, body: bytes) -> None:
        answers = [{**key, "of": "x" * (90 if key["id"] == 3 else 9)} for key in json.loads(body)["keys"]]
        handler.say(200, json.dumps(answers).encode())

    server.replies(reply)
    found = asked(HttpService("x", server.url, ["id"], "POST", max_bytes=80), keys)
    long = NoAnswer("longer than 80 bytes")
    assert found == [long if n == 3 else f'{{"id": {n}, "of": "{"x" * 9}"}}'.encode() for n in range(5)]


@pytest.mark.parametrize("status", [204, 404, 410])
def test_a_post_without_its_place_is_a_refusal(server: Server, status: int) -> None:
    server.replies(lambda handler, _: handler.say(status))
    with pytest.raises(ServiceRefused, match=f"the service answers {status}"):
        asked(HttpService("x", server.url, ["id"], "POST"), ['{"id":1}', '{"id":2}'])


def test_numbers_are_compared_and_asked_for_to_their_last_digit(server: Server) -> None:
    keys = ["12345678901234567.01", "12345678901234567.02", "1.50", "2", "0.0000001"]
    answers = ",".join(f'{{"id": {shown}}}' for shown in (*keys[:2], "1.5", "2.0", "1e-7", "true"))
    server.replies(lambda handler, _: handler.say(200, f"[{answers}]".encode()))
    found = asked(HttpService("x", server.url, ["id"], "POST"), [f'{{"id":{key}}}' for key in (*keys, "1")])
    assert found == [*(f'{{"id": {shown}}}'.encode() for shown in (*keys[:2], "1.5", "2.0", "1e-7")), None]
    get(server, "1")
    service = HttpService("x", f"{server.url}/{{id}}", ["id"])
    assert len(asked(service, ['{"id":1.50}', '{"id":1E-7}', '{"id":true}'])) == 3
    assert [path for path, _ in server.asked[-3:]] == ["/1.50", "/0.0000001", "/true"]


def test_a_request_that_is_no_http_names_no_secret(server: Server) -> None:
    service = HttpService("x", f"{server.url}/{{id}}", ["id"], headers={"Authorization": "s3cret\n"})
    with pytest.raises(ValueError, match="a header or the URL is not as HTTP has it") as failure:
        asked(service, ['{"id":1}'])
    assert "s3cret" not in "".join(traceback.format_exception(failure.value))


def test_two_answers_for_a_key_are_none_and_what_is_no_object_is_passed_over(server: Server) -> None:
    found = post(server, [{"id": 1, "of": "a"}, {"id": 1, "of": "a"}, 7, {"id": 2, "of": "a"}])
    assert found == [NoAnswer("the service has more than one answer for the key"), b'{"id": 2, "of": "a"}']


def test_calls_begin_evenly() -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    pace = Pace(10, lambda: now[0], sleep)
    for _ in range(3):
        pace.wait()
    now[0] += 1
    pace.wait()
    assert slept == [0.1, 0.1]


def test_secrets_are_not_shown() -> None:
    service = HttpService("x", "http://h/{k}", ["k"], headers={"Authorization": "s3cret"})
    assert "s3cret" not in repr(service)


def test_nothing_but_the_urls_own_host_is_called(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Server()
    other.replies(lambda handler, _: handler.say(200, b"other"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.replies(lambda handler, _: handler.say(200, b"own"))
    assert get(server, "EUR") == [b"own"]
    other.stop()
    assert other.asked == []

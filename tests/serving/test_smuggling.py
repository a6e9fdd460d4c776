"""Requests whose end is ambiguous, and other malformed HTTP: refused, and nothing after them is taken for a request."""

from __future__ import annotations

import pytest

from tests.serving.conftest import exchange

HOST = b"Host: localhost\r\n"
SMUGGLED = b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
BODY = b"0\r\n\r\n"


def post(*lines: bytes) -> bytes:
    return b"POST /detect HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


AMBIGUOUS = {
    "length and chunks": post(b"Content-Length: 5", b"Transfer-Encoding: chunked") + BODY,
    "chunks and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5") + BODY,
    "two lengths": post(b"Content-Length: 5", b"Content-Length: 0") + BODY,
    "the same length twice": post(b"Content-Length: 5", b"Content-Length: 5") + BODY,
    "a list of lengths": post(b"Content-Length: 5, 0") + BODY,
    "a signed length": post(b"Content-Length: +5") + BODY,
    "a negative length": post(b"Content-Length: -5") + BODY,
    "a hexadecimal length": post(b"Content-Length: 0x5") + BODY,
    "a huge length": post(b"Content-Length: 99999999999999999999999") + BODY,
    "no length": post(b"Content-Length:") + BODY,
    "a space before the colon": post(b"Content-Length : 5") + BODY,
    "a space before chunked": post(b"Transfer-Encoding : chunked") + BODY,
    "chunked, but not last": post(b"Transfer-Encoding: chunked, identity") + BODY,
    "chunked in a quotation": post(b'Transfer-Encoding: "chunked"') + BODY,
    "an unknown encoding": post(b"Transfer-Encoding: xchunked") + BODY,
    "two encodings": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + BODY,
    "a tab in the encoding": post(b"Transfer-Encoding: \x0bchunked") + BODY,
    "a folded header": post(b"X: a", b" Content-Length: 5") + BODY,
    "a bare line feed": b"POST /detect HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"Content-Length: 5\n\n" + BODY,
    "a bare carriage return": post(b"X: a\rContent-Length: 5") + BODY,
    "a zero byte in a header": post(b"X: a\0b") + BODY,
    "a control character in a name": post(b"X\x01: a") + BODY,
    "a space in a name": post(b"X Y: a") + BODY,
    "a huge chunk": post(b"Transfer-Encoding: chunked") + b"fffffffffffffffffff\r\n",
    "a negative chunk": post(b"Transfer-Encoding: chunked") + b"-1\r\n\r\n",
    "a chunk that is too long": post(b"Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n",
    "a chunk with a bare line feed": post(b"Transfer-Encoding: chunked") + b"1\na\n0\n\n",
    "no version": b"POST /detect\r\n" + HOST + b"\r\n",
    "an unknown version": b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n",
    "an unknown method": b"STEAL /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_ambiguous_requests_are_refused_and_end_the_connection(address, request_bytes):
    answer = exchange(address, request_bytes + SMUGGLED)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ", b"HTTP/1.1 415 ")) or not answer
    assert answer.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"Transfer-Encoding: chunked", b"Content-Type: application/json") + b'2;x="y"\r\n{}\r\n0\r\nX: y\r\n\r\n',
        post(b"Content-Length: 2", b"Content-Type: application/json") + b"{}",
        post(b"Expect: 100-continue", b"Content-Length: 2", b"Content-Type: application/json") + b"{}",
        post(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 2", b"Content-Type: application/json") + b"{}",
    ],
    ids=["chunks with extensions and trailers", "a length", "100-continue", "an offer of HTTP/2"],
)
def test_unusual_requests_are_answered(address, request_bytes):
    answer = exchange(address, request_bytes, SMUGGLED)
    assert b'missing q parameter"}' in answer
    assert answer.count(b'{"status":"ok"}') == 1


@pytest.mark.parametrize(
    "lines",
    [
        [b"Authorization: Bearer \xff\xfe\xed"], [b"Authorization: \xf0\x9f\x98\x80"],
        [b"X-Forwarded-For: \xc3\xa9" * 50],
        [b"Cookie: " + b"a=b;" * 10_000], [b"Accept-Language: " + b"\xf0\x90\x80\x80" * 1000], [b"X: \xff"] * 500,
        [b"Content-Type: \xc3\xa9"], [b"X-Forwarded-For: 1.1.1.1, [::1, 999.1.1.1:x"], [b"Origin: "],
        [b"Range: bytes=5-1"],
    ],
)  # fmt: skip
def test_unusual_headers_are_no_error_of_the_server(address, lines):
    for method in (b"GET /languages", b"POST /translate", b"GET /static/main.js"):
        request = (
            method + b" HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"Connection: close\r\n\r\n"
        )
        answer = exchange(address, request)
        assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer[:100]


BODIES = {
    "deep lists": b'{"q": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep objects": b'{"q": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "a long number": b'{"q": ' + b"9" * 100_000 + b"}",
    "a name twice": b'{"q": "a", "source": "aa", "target": "bb", "q": "b"}',
    "a name twice, escaped": b'{"q": "a", "source": "aa", "target": "bb", "\\u0071": "b"}',
    "a name twice, inside": b'{"q": {"a": 1, "a": 2}, "source": "aa", "target": "bb"}',
    "not a number": b'{"q": "a", "source": "aa", "target": "bb", "alternatives": NaN}',
    "infinity": b'{"q": "a", "source": "aa", "target": "bb", "alternatives": Infinity}',
    "a byte order mark": b'\xef\xbb\xbf{"q": "a"}',
    "UTF-16": '{"q": "a"}'.encode("utf-16"),
    "not UTF-8": b'{"q": "\xff"}',
    "a comment": b'{"q": "a" /* b */}',
    "two values": b'{"q": "a"}{"q": "b"}',
    "nothing": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("path", [b"/translate", b"/api/translate", b"/v2/translate"])
def test_bodies_that_are_not_json_are_refused(address, path, body):
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Type: application/json\r\n"
    answer = exchange(address, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate, gzip", b"x", b"zstd"])
@pytest.mark.parametrize("path", [b"/translate", b"/translate_file", b"/v3/glossaries"])
def test_compressed_bodies_are_refused(address, path, encoding):
    media_type = b"multipart/form-data; boundary=x" if path == b"/translate_file" else b"application/json"
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Type: " + media_type + b"\r\n"
    answer = exchange(address, head + b"Content-Encoding: " + encoding + b"\r\nContent-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"accept-encoding: identity" in answer.lower()

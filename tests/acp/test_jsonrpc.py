"""Framing, decoding and encoding of JSON-RPC messages."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from acp.jsonrpc import (
    Line,
    LineDecoder,
    Message,
    Noise,
    Notification,
    Overlong,
    Request,
    Response,
    RpcError,
    Unusable,
    decode_message,
    encode_message,
)


def whole(*pieces: bytes, max_line: int = 1000) -> list[Line]:
    decoder = LineDecoder(max_line)
    return [line for piece in pieces for line in decoder.feed(piece)] + decoder.end()


def line_of(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **fields}).encode()


# --- framing -----------------------------------------------------------------------------------------------------


def test_carriage_returns_at_line_ends_and_empty_lines_are_left_out() -> None:
    """T9."""
    assert whole(b"one\r\n\r\n\n\ntwo\r", b"\nthr\ree\n") == [b"one", b"two", b"thr\ree"]


def test_a_line_without_an_end_comes_when_the_stream_ends() -> None:
    """T9."""
    decoder = LineDecoder()
    assert decoder.feed(b"one\ntw") == [b"one"]
    assert decoder.feed(b"o") == []
    assert decoder.end() == [b"two"]
    assert decoder.end() == []


def test_a_line_of_the_greatest_length_is_accepted_and_a_longer_one_is_not() -> None:
    """T9."""
    assert whole(b"x" * 10 + b"\r\n", max_line=10) == [b"x" * 10]
    [line] = whole(b"x" * 11 + b"\n", max_line=10)
    assert isinstance(line, Overlong)
    assert line.size == 11


def test_the_line_after_an_overlong_one_is_whole_again() -> None:
    """T9."""
    pieces = [b'{"a":', *[b"x" * 100] * 50, b"end\nnext", b" line\n"]
    overlong, after = whole(*pieces, max_line=1000)
    assert isinstance(overlong, Overlong)
    assert overlong.head.startswith(b'{"a":xxx')
    assert overlong.tail.endswith(b"xend")
    assert overlong.size == 5008
    assert after == b"next line"


def test_an_overlong_line_is_not_kept_while_it_comes_in() -> None:
    """T9."""
    decoder = LineDecoder(max_line=1000)
    for _ in range(1000):
        decoder.feed(b"x" * 1000)
    assert sum(map(len, decoder._parts)) + len(decoder._tail) + len(decoder._head or b"") < 2000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"text":"%s"}}', 7),
        (b'{"id":7,"error":{"message":"%s"}}', 7),
        (b'{"jsonrpc":"2.0","result":{"text":"%s"},"id":7}', 7),
        (b'{"result":{"text":"%s"},"id":7,"jsonrpc":"2.0"}', 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"fs/write_text_file","params":{"text":"%s"}}', None),
        (b'{"jsonrpc":"2.0","method":"session/update","params":{"text":"%s","id":7}}', None),
        (b'{"jsonrpc":"2.0","id":"7","result":"%s"}', None),
        (b"%s", None),
    ],
)
def test_the_request_that_an_overlong_line_answered_is_recognised(line: bytes, expected: int | None) -> None:
    """T9."""
    [overlong] = whole(line % (b"x" * 2000), max_line=1000)
    assert isinstance(overlong, Overlong)
    assert overlong.response_id == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":"%s"}}', Unusable(7)),
        (b'{"jsonrpc":"2.0","method":"m","id":"x\\"y","params":{"a":"%s"}}', Unusable('x"y')),
        (b'{"method":"m","params":{"a":"%s"},"jsonrpc":"2.0","id":1.5}', Unusable(1.5)),
        (b'{"params":{"a":"%s"},"id":null,"method":"m"}', Unusable(None)),
        (b'{"jsonrpc":"2.0","method":"session/update","params":{"a":"%s","id":7}}', None),
        (b'{"jsonrpc":"2.0","id":7,"result":{"a":"%s"}}', None),
        (b'{"id":7-7,"method":"m","params":"%s"}', None),
        (b"%s", None),
    ],
)
def test_the_request_that_an_overlong_line_was_is_recognised(line: bytes, expected: Unusable | None) -> None:
    """T9"""
    [overlong] = whole(line % (b"x" * 2000), max_line=1000)
    assert isinstance(overlong, Overlong)
    assert overlong.request == expected


# --- decoding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"method": "m"}, Notification("m", {})),
        ({"method": "m", "params": {"a": 1}}, Notification("m", {"a": 1})),
        ({"method": "m", "params": [1]}, Notification("m", {})),
        ({"method": "m", "id": 0}, Request(0, "m", {})),
        ({"method": "m", "id": "0", "params": None}, Request("0", "m", {})),
        ({"method": "m", "id": None}, Request(None, "m", {})),
        ({"id": 1, "result": {"a": 1}}, Response(1, {"a": 1})),
        ({"id": 1, "result": None}, Response(1)),
        ({"id": None, "error": {"code": -32700, "message": "?"}}, Response(None, error=RpcError(-32700, "?"))),
        ({"id": 1, "result": 5, "error": None}, Response(1, 5)),
        ({"id": 1, "error": "went wrong"}, Response(1, error=RpcError(0, "went wrong"))),
        ({"id": 1, "error": {"code": "E", "data": [1]}}, Response(1, error=RpcError(0, "", [1]))),
    ],
)
def test_messages_are_told_apart(fields: dict[str, Any], expected: Message) -> None:
    """T5."""
    assert decode_message(line_of(**fields)) == expected


ODD_IDS: list[Any] = [True, 1.0, [1], {}]
NOISE = [
    *(b"Welcome!", b"5", b'"x"', b"null", b"true", b"NaN", b"[]", b"{}", b"\x1b[2J", b"\xff\xfe\x00", b"\xef\xbb\xbf"),
    *(b'{"level":"info","msg":"started"}', b'{"id":1,"result":5}', b'{"jsonrpc":"1.0","id":1,"result":5}'),
    b'[{"jsonrpc":"2.0","method":"m"},{"jsonrpc":"2.0","id":1,"result":5}]',
    b'{"jsonrpc":"2.0","method":"m"}{"jsonrpc":"2.0","method":"m"}',
    b'{"jsonrpc":"2.0","method":"m","params":{"a":',
    b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"jsonrpc":"2.0","method":"m","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    b'{"jsonrpc":"2.0","method":"m","params":{"a":' + b"9" * 10_000 + b"}}",
    *(line_of(id=1), line_of(method=5), line_of(method=["m"], id=1)),
    *(line_of(id=odd, method="m") for odd in ODD_IDS),
    *(line_of(id=odd, result=5) for odd in [*ODD_IDS, 10**30]),
]


@pytest.mark.parametrize("line", NOISE, ids=[repr(line[:48]) for line in NOISE])
def test_what_is_no_message_is_noise(line: bytes) -> None:
    """T5, T9."""
    assert isinstance(decode_message(line), Noise)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'"a\\ud800b"', "a\ufffdb"),
        (b'"a\xffb"', "a\ufffdb"),
        (b'"a\x00b"', "a\x00b"),
        (b"NaN", None),
        (b"-Infinity", None),
        (b'"\\ud83d\\ude00 \\ud83d"', "\U0001f600 \ufffd"),
    ],
)
def test_a_message_with_a_flaw_in_a_value_is_mended(value: bytes, expected: Any) -> None:
    """T9."""
    line = b'{"jsonrpc":"2.0","method":"m","params":{"a":' + value + b',"b":1}}'
    assert decode_message(line) == Notification("m", {"a": expected, "b": 1})


def test_a_byte_order_mark_before_a_message_is_skipped() -> None:
    """T9."""
    assert decode_message(b"\xef\xbb\xbf" + line_of(method="m")) == Notification("m", {})


def test_noise_that_began_as_an_answer_names_the_request() -> None:
    """T9."""
    assert decode_message(line_of(id=3, result={"text": "x" * 1000})[:-20]) == Noise(response_id=3)
    assert decode_message(line_of(id=3, method="m")[:-1]) == Noise()


# --- encoding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "m", {"text": "ü\n\u2028"}),
        Request("a", "m", {}),
        Notification("m", {"a": [None, 1.5]}),
        Response(1, {"a": 1}),
        Response("a"),
        Response(None, error=RpcError(-32601, "no such method", {"a": 1})),
    ],
)
def test_what_is_encoded_is_one_line_and_decodes_to_the_same(message: Message) -> None:
    """T5."""
    line = encode_message(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_message(line) == message


def test_a_result_of_none_is_written() -> None:
    assert json.loads(encode_message(Response(1))) == {"jsonrpc": "2.0", "id": 1, "result": None}


def test_lone_surrogates_are_replaced_in_what_is_written() -> None:
    assert decode_message(encode_message(Notification("m", {"a": "x\ud800"}))) == Notification("m", {"a": "x\ufffd"})


@pytest.mark.parametrize("end", [b"}", b""], ids=["whole", "broken"])
def test_the_collector_is_at_work_again_after_a_large_line(end: bytes) -> None:
    """T9: it pauses while hundreds of thousands of objects are made, and never for good."""
    line = b'{"jsonrpc":"2.0","method":"m","params":{"a":[' + b"{}," * 400_000 + b"{}]}" + end
    decode_message(line)
    assert gc.isenabled()
    gc.disable()
    try:
        decode_message(line)
        assert not gc.isenabled()
    finally:
        gc.enable()

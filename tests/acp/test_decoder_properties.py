"""What holds for every stream of bytes, wherever it is cut into chunks, and for every line that comes out of it.

The streams are made by a seeded generator, and by hypothesis where a short counterexample is wanted.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.jsonrpc import Line, LineDecoder, Noise, Notification, Overlong, Request, Response, decode_message
from tests.repeat import long_run

KINDS = (Noise, Notification, Request, Response)
SAMPLE = 256
"""Bytes that are kept of either end of an overlong line."""
SEQUENCES = 2_000
LONG_RUN, LONG_PARTS = long_run(20_000, 3_000), 4
PIECES = (
    *(b"\n", b"\r\n", b"\r", b"", b"\n\n\r\n"),
    *(b"{", b"}", b'{"jsonrpc":"2.0",', b'"method":"m"}', b'"id":1,', b'"result":{"a":"', b'"}}\n', b"null"),
    *("é😀".encode(), "é😀".encode()[:3], b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\\ud800", b"NaN"),
    *(b'{"jsonrpc":"2.0","id":1,"result":{}}\n', b'{"jsonrpc":"2.0","method":"m"}\r\n', b"[" * 60, b"x" * 100),
)


def expected(stream: bytes, max_line: int) -> list[Line]:
    """Return the lines of a stream that is looked at as a whole."""
    lines: list[Line] = []
    for raw in stream.split(b"\n"):
        bare = raw.removesuffix(b"\r")
        if len(bare) > max_line:
            lines.append(Overlong(raw[:SAMPLE], len(raw), raw[-SAMPLE:]))
        elif bare:
            lines.append(bare)
    return lines


def decoded(chunks: list[bytes], max_line: int) -> list[Line]:
    """Return the lines that a decoder makes of the chunks; what it keeps meanwhile has a bound."""
    decoder, lines = LineDecoder(max_line), list[Line]()
    for chunk in chunks:
        lines += decoder.feed(chunk)
        kept = sum(map(len, decoder._parts)) + len(decoder._head or b"") + len(decoder._tail)
        assert kept <= max(max_line + 1, 2 * SAMPLE), "what is kept of a line has a bound"
    lines += decoder.end()
    assert decoder.end() == [], "the end comes once"
    return lines


def check(chunks: list[bytes], max_line: int) -> None:
    lines = decoded(chunks, max_line)
    assert lines == expected(b"".join(chunks), max_line)
    for line in lines:
        if isinstance(line, Overlong):
            assert line.response_id is None or line.response_id >= 0
        else:
            assert isinstance(decode_message(line), KINDS)


def chunks_of(rng: random.Random) -> list[bytes]:
    """Return 50 to 200 chunks: pieces that look like messages, and now and then what looks like nothing at all."""
    chunks = rng.choices(PIECES, k=rng.randint(50, 200))
    for _ in range(3):
        chunks[rng.randrange(len(chunks))] = rng.randbytes(rng.randrange(30))
    return chunks


def test_lines_come_out_whatever_bytes_come_in() -> None:
    """T5, T9: streams of 50 to 200 chunks."""
    walk(range(SEQUENCES))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_lines_come_out_in_a_long_run(part: int) -> None:
    """T5, T9"""
    walk(range(SEQUENCES + part, SEQUENCES + LONG_RUN, LONG_PARTS))


def walk(seeds: Iterable[int]) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        chunks, max_line = chunks_of(rng), rng.choice((5, 40, 250, 600, 5000))
        try:
            check(chunks, max_line)
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise


# --- for short counterexamples -----------------------------------------------------------------------------------

CHUNKS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=30), max_size=30)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(CHUNKS, st.integers(1, 300))
def test_no_short_stream_breaks_the_decoder(chunks: list[bytes], max_line: int) -> None:
    """T5, T9: the same for streams that shrink well."""
    check(chunks, max_line)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=long_run(10_000, 500), derandomize=True, deadline=None)
@given(CHUNKS, st.integers(1, 300))
def test_no_stream_breaks_the_decoder_in_a_long_run(chunks: list[bytes], max_line: int) -> None:
    """T5, T9."""
    check(chunks, max_line)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 60), max_size=20), st.integers(1, 40))
def test_lines_do_not_depend_on_where_the_stream_is_cut(stream: bytes, sizes: list[int], max_line: int) -> None:
    """T9."""
    edges = [0, *accumulate(sizes), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert decoded(chunks, max_line) == decoded([stream], max_line)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_line_raises(line: bytes) -> None:
    """T9."""
    decode_message(line)
    decode_message(b'{"jsonrpc":"2.0","method":"m","params":{"a":"' + line + b'"}}')

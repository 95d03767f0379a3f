"""The vectors of AWS's own SDKs, and bodies that the service sent. Both lie beside the project, not in it."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from core.eventstream import FaultReason, Message, encode
from tests.decoding import decode

SHARED = Path(__file__).parents[3] / "shared"

if not (SHARED / "vectors").is_dir():
    pytest.skip("the shared folder with the vectors is not beside the project", allow_module_level=True)

WITH_BYTES = [path for path in sorted((SHARED / "vectors").glob("*.json")) if path.with_suffix(".bin").is_file()]
CAPTURES = sorted((SHARED / "captures").glob("*.bin"))


def described(message: Message) -> dict[str, Any]:
    """A message in the form that the vectors have it in, its lengths and checksums read from its one frame."""
    frame = encode(message)
    total_length, headers_length, prelude_crc = struct.unpack(">III", frame[:12])
    headers = []
    for name, header in message.headers.items():
        value = {"b64": base64.b64encode(header.value).decode()} if isinstance(header.value, bytes) else header.value
        headers.append({"name": name, "type": int(header.type), "value": value})
    return {
        "total_length": total_length,
        "headers_length": headers_length,
        "prelude_crc": prelude_crc,
        "message_crc": struct.unpack(">I", frame[-4:])[0],
        "headers": headers,
        "payload_b64": base64.b64encode(message.payload).decode(),
    }


def expected_messages(expect: dict[str, Any]) -> list[dict[str, Any]]:
    for message in expect["messages"]:
        for header in message["headers"]:
            del header["type_name"]
    return list(expect["messages"])


def test_all_vectors_with_bytes_are_there() -> None:
    assert len(WITH_BYTES) == 70


@pytest.mark.parametrize("path", WITH_BYTES, ids=lambda path: path.stem)
def test_a_vector_comes_out_as_it_says(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    stream = path.with_suffix(".bin").read_bytes()
    assert (len(stream), hashlib.sha256(stream).hexdigest()) == (vector["size"], vector["sha256"])
    expect = vector["expect"]
    decoded = decode(stream)
    assert len(decoded.messages) == expect["frames"]
    # The JSON text tells true from 1, which == does not.
    assert json.dumps(list(map(described, decoded.messages)), sort_keys=True) == json.dumps(
        expected_messages(expect), sort_keys=True
    )
    good = b"".join(map(encode, decoded.messages))
    assert stream.startswith(good)
    assert len(good) == expect["consumed"]
    match expect["outcome"]:
        case "complete":
            assert decoded.fault is None
        case "incomplete":
            assert decoded.reason is FaultReason.TRUNCATED_STREAM
            assert expect["at_eof"] == "truncated_stream"
        case "error":
            assert decoded.reason == expect["reject_kind"]
        case outcome:
            pytest.fail(f"unknown outcome {outcome}")
    if decoded.fault is not None:
        assert decoded.fault.offset == expect["consumed"]


def test_vectors_reach_most_reasons() -> None:
    kinds = {json.loads(path.read_bytes())["expect"]["reject_kind"] for path in WITH_BYTES} - {None}
    assert kinds <= {str(reason) for reason in FaultReason}
    assert len(kinds) == 8


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_body_of_the_service_is_clean_frames(path: Path) -> None:
    stream = path.read_bytes()
    decoded = decode(stream)
    assert decoded.fault is None
    assert b"".join(map(encode, decoded.messages)) == stream
    assert decoded.messages
    for message in decoded.messages:
        assert list(message.headers) == [":event-type", ":content-type", ":message-type"]
        assert message.text(":event-type") == "assistantResponseEvent"
        assert isinstance(json.loads(message.payload)["content"], str)


def test_an_error_body_of_the_service_is_a_fault_and_no_frame() -> None:
    for path in (SHARED / "captures").glob("*.json"):
        decoded = decode(path.read_bytes())
        assert (decoded.messages, decoded.reason) == ((), FaultReason.PRELUDE_CRC)

"""A whole answer as stream events, in the order and the form that clients need."""

import json

import msgspec
import pytest

from core.anthropic import (
    AnswerBlock,
    AnswerMessage,
    AnswerRedactedThinking,
    AnswerText,
    AnswerThinking,
    AnswerToolUse,
    Usage,
)
from core.sse import Error, ErrorDetail, Ping, encode_error, encode_events, encode_message, message_start, render_events


def answer(*content: AnswerBlock) -> AnswerMessage:
    return AnswerMessage(
        id="msg_1",
        model="m",
        content=content,
        stop_reason="end_turn",
        usage=Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=3),
    )


def lines(*content: AnswerBlock) -> list[dict[str, object]]:
    """The data of an answer's events, each event's name checked against its type."""
    parsed = []
    for record in encode_events(render_events(answer(*content))).decode().split("\n\n")[:-1]:
        name, data = record.split("\n")
        assert data.startswith("data: ")
        parsed.append(json.loads(data[6:]))
        assert name == f"event: {parsed[-1]['type']}"
    return parsed


END = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
        },
    },
    {"type": "message_stop"},
]


def start(index: int, block: dict[str, object]) -> dict[str, object]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, content: dict[str, object]) -> dict[str, object]:
    return {"type": "content_block_delta", "index": index, "delta": content}


def stop(index: int) -> dict[str, object]:
    return {"type": "content_block_stop", "index": index}


def test_text_stands_in_a_delta_and_every_block_is_numbered_and_stopped() -> None:
    assert lines(AnswerText("one\n\ntwo"), AnswerText("\u2028 three")) == [
        start(0, {"type": "text", "text": ""}),
        delta(0, {"type": "text_delta", "text": "one\n\ntwo"}),
        stop(0),
        start(1, {"type": "text", "text": ""}),
        delta(1, {"type": "text_delta", "text": "\u2028 three"}),
        stop(1),
        *END,
    ]


def test_a_call_has_its_input_as_it_came() -> None:
    assert lines(AnswerToolUse("t1", "Read", msgspec.Raw(b'{ "a" : 1.0 }'))) == [
        start(0, {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}),
        delta(0, {"type": "input_json_delta", "partial_json": '{ "a" : 1.0 }'}),
        stop(0),
        *END,
    ]


@pytest.mark.parametrize("thinking", ["hm", ""])
@pytest.mark.parametrize("signature", ["sig", ""])
def test_thinking_ends_with_one_signature(thinking: str, signature: str) -> None:
    text = [delta(0, {"type": "thinking_delta", "thinking": thinking})] if thinking else []
    assert lines(AnswerThinking(thinking, signature)) == [
        start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        *text,
        delta(0, {"type": "signature_delta", "signature": signature}),
        stop(0),
        *END,
    ]


def test_redacted_thinking_stands_in_its_start() -> None:
    assert lines(AnswerRedactedThinking("AAA=")) == [
        start(0, {"type": "redacted_thinking", "data": "AAA="}),
        stop(0),
        *END,
    ]


def test_an_answer_without_content_is_its_end_alone() -> None:
    assert lines() == END


def test_the_first_event_is_an_empty_message_with_an_estimate() -> None:
    assert json.loads(encode_events([message_start("msg_1", "m", 9)]).decode().split("data: ")[1]) == {
        "type": "message_start",
        "message": {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 9,
                "output_tokens": 0,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
            },
        },
    }


def test_pings_and_errors_have_their_form() -> None:
    assert encode_events([Ping(), Error(ErrorDetail("api_error", 'a "b"\n'), "req_1")]) == (
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"a \\"b\\"\\n"},'
        b'"request_id":"req_1"}\n\n'
    )


def test_no_character_in_a_text_ends_a_line_for_any_client() -> None:
    text = "a\u2028b\u2029c\x85d\r\ne\x0b\x0c\x1c\x1d\x1ef é"
    encoded = encode_events(render_events(answer(AnswerText(text)))).decode()
    assert encoded.splitlines() == encoded.split("\n")[:-1]
    (delta,) = [json.loads(line[6:]) for line in encoded.splitlines() if '"text_delta"' in line]
    assert delta["delta"]["text"] == text


def test_an_error_and_its_event_say_the_same() -> None:
    event = encode_events([Error(ErrorDetail("api_error", "why"), "req_1")])
    assert event == b"event: error\ndata: " + encode_error("api_error", "why", "req_1") + b"\n\n"


def test_a_whole_message_has_the_input_as_an_object() -> None:
    message = json.loads(encode_message(answer(AnswerText("a"), AnswerToolUse("t", "n", msgspec.Raw(b'{"a":[1]}')))))
    assert message["type"] == "message"
    assert message["content"] == [
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1]}},
    ]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)

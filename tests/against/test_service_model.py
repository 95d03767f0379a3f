"""Our requests before AWS's own model of the service, which lies beside the project where it is developed.

botocore's validator judges required and unknown members, types, unions and minima; lengths at most, patterns and
enumerations are judged by a walk over the model's shapes, because it does not look at them.
"""

from __future__ import annotations

import base64
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.client_requests import asking, assistant, body_of, call, converted, image, requests, result, tool, user

# botocore has no types; imported in this way, it is Any.
_loaders: Any = importlib.import_module("botocore.loaders")
_model: Any = importlib.import_module("botocore.model")
_validate: Any = importlib.import_module("botocore.validate")

MODELS = Path(__file__).parents[3] / "shared" / "models"


@cache
def input_shape() -> Any:
    """The shape of a request."""
    if not MODELS.is_dir():
        pytest.skip("AWS's model of the service does not lie beside the project (shared/models)")
    loader = _loaders.Loader(extra_search_paths=[str(MODELS)])
    document = loader.load_service_model("codewhispererstreaming", "service-2")
    return _model.ServiceModel(document).operation_model("GenerateAssistantResponse").input_shape


def violations(body: dict[str, Any]) -> list[str]:
    """What AWS's model forbids in a body."""
    shape = input_shape()
    report = _validate.ParamValidator().validate(body, shape)
    return [line for line in report.generate_report().splitlines() if line] + list(_walk(shape, body, "body"))


def _walk(shape: Any, value: Any, place: str) -> Any:
    limits = shape.metadata
    size = None
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            for name, member in value.items():
                if name in shape.members:
                    yield from _walk(shape.members[name], member, f"{place}.{name}")
        case "list":
            size = len(value)
            for index, member in enumerate(value):
                yield from _walk(shape.member, member, f"{place}[{index}]")
        case "blob":
            size = len(base64.b64decode(value, validate=True))
        case "string" if isinstance(value, str):
            size = len(value)
            if "pattern" in limits and not re.fullmatch(limits["pattern"], value):
                yield f"{place}: {value!r} does not match {limits['pattern']}"
            if "enum" in limits and value not in limits["enum"]:
                yield f"{place}: {value!r} is none of {limits['enum']}"
    if size is not None and not limits.get("min", 0) <= size <= limits.get("max", size):
        yield f"{place}: a size of {size} where {limits.get('min')} to {limits.get('max')} are allowed"


_THINKING = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
_GOOD = asking(
    user("look", image()),
    assistant(_THINKING, "ok", call("an id", "mcp.files/read", path="/")),
    user(result("an id", [image(b"GIF", "image/gif")], is_error=True)),
    system="Be brief.",
    tools=[tool("Bash", "x" * 20_000), tool("mcp.files/read", "", properties={"path": {"type": "string"}})],
)


def test_a_request_with_everything_in_it_is_what_the_model_allows() -> None:
    assert violations(body_of(converted(_GOOD))) == []


@settings(max_examples=150, deadline=None)
@given(requests())
def test_every_request_is_what_the_model_allows(request: dict[str, Any]) -> None:
    assert violations(body_of(converted(request))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("conversationState", "chatTriggerType"), "AUTOMATIC"),
        (("conversationState", "conversationId"), ""),
        (("conversationState", "currentMessage", "userInputMessage", "modelId"), "no good"),
        (("conversationState", "currentMessage", "userInputMessage", "content"), 1),
        (("conversationState", "currentMessage", "userInputMessage", "unknown"), 1),
        (("conversationState", "currentMessage", "assistantResponseMessage"), {"content": "a second alternative"}),
        (("conversationState", "history", 0, "userInputMessage", "images", 0, "format"), "bmp"),
        (("conversationState", "history", 0, "userInputMessage", "images", 0, "source", "bytes"), ""),
    ],
)
def test_the_judge_sees_what_the_model_forbids(path: tuple[Any, ...], value: Any) -> None:
    body: Any = body_of(converted(_GOOD))
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    assert violations(body) != []

"""The Anthropic SDK as a judge: it is handed the bytes of an answer and says what message they are."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2

from tests.builders import MODEL


class Judge:
    """One SDK client, whose every request is answered with what it is handed: making a client takes 50 ms."""

    def __init__(self) -> None:
        self._answer = (b"", "")
        transport = httpx2.MockTransport(self._respond)
        self._client = anthropic.Anthropic(
            api_key="made-up",
            base_url="http://127.0.0.1",
            max_retries=0,
            http_client=anthropic.DefaultHttpxClient(transport=transport),
        )

    def _respond(self, request: httpx2.Request) -> httpx2.Response:
        content, content_type = self._answer
        return httpx2.Response(200, content=content, headers={"content-type": content_type}, request=request)

    def rebuild(self, stream: bytes) -> anthropic.types.Message:
        """The message that the SDK makes of an event stream."""
        self._answer = (stream, "text/event-stream; charset=utf-8")
        with self._client.messages.stream(**_QUESTION) as manager:
            return manager.get_final_message()

    def read(self, body: bytes) -> anthropic.types.Message:
        """The message that the SDK makes of an answer that is no stream."""
        self._answer = (body, "application/json")
        message: anthropic.types.Message = self._client.messages.create(**_QUESTION)
        return message


_QUESTION: dict[str, Any] = {
    "model": MODEL.name,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello"}],
}

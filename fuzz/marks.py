"""Marks in the words of a client's request, to find them again in what the service gets.

Numbers count in the client's order: the system prompt, then each message's blocks; within a document its title, its
context, its data; within a search result its title, its source, its content; at last the tools' descriptions.
Kinds: `t` for words, `i` for texts in inputs of calls, `h` for thinking, `d` for descriptions. Images have bytes of
their own, which are a number too.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from fuzz.request_rules import spoken_words

_MARK = re.compile(r"«([a-z])(\d+)»")


class Marked:
    """A request with a mark in every text of it that somebody could see; `request` is the marked one.

    Whatever stands where something else is expected stays as it is: such a request is refused anyway.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        # A copy without marks that were there before, and in which no object stands twice.
        self.request: dict[str, Any] = json.loads(json.dumps(request, ensure_ascii=False).replace("«", "<"))
        self.given: dict[str, list[int]] = {kind: [] for kind in "tihd"}
        self.texts: list[str] = []
        self.inputs: list[dict[str, Any]] = []
        self.images: list[str] = []
        self.described: list[tuple[list[int], str]] = []
        self._next = 0
        self._stamp_all(self.request, "system")
        for message in _dicts(self.request.get("messages")):
            self._stamp_all(message, "content")
        for tool in _dicts(self.request.get("tools")):
            self._stamp_description(tool)

    def _mark(self, kind: str) -> str:
        self._next += 1
        self.given[kind].append(self._next)
        return f"«{kind}{self._next}»"

    def _stamp(self, holder: dict[str, Any], key: str, kind: str = "t") -> None:
        text = holder.get(key)
        if isinstance(text, str) and text.strip():
            holder[key] = self._mark(kind) + text
            if kind == "t":
                self.texts.append(holder[key])

    def _stamp_all(self, holder: dict[str, Any], key: str) -> None:
        self._stamp(holder, key)
        for block in _dicts(holder.get(key)):
            self._stamp_block(block)

    def _stamp_block(self, block: dict[str, Any]) -> None:
        source = block.get("source")
        match block.get("type"):
            case "text":
                self._stamp(block, "text")
            case "image" if isinstance(source, dict) and source.get("type") == "base64":
                self._next += 1
                source["data"] = base64.b64encode(str(self._next).encode()).decode()
                self.images.append(source["data"])
            case "document" if isinstance(source, dict):
                self._stamp(block, "title")
                self._stamp(block, "context")
                if source.get("type") == "text":
                    self._stamp(source, "data")
                elif source.get("type") == "content":
                    self._stamp_all(source, "content")
            case "search_result":
                self._stamp(block, "title")
                self._stamp(block, "source")
                for each in _dicts(block.get("content")):
                    self._stamp_block(each)
            case "tool_result":
                self._stamp_all(block, "content")
            case "tool_use" if isinstance(block.get("input"), dict):
                for key in block["input"]:
                    self._stamp(block["input"], key, "i")
                self.inputs.append(block["input"])
            case "thinking":
                self._stamp(block, "thinking", "h")
            case _:
                pass

    def _stamp_description(self, tool: dict[str, Any]) -> None:
        words = tool.get("description")
        if isinstance(words, str) and words.strip():
            marks = [self._mark("d") for _ in range(3)]
            half = len(words) // 2
            tool["description"] = f"{marks[0]}{words[:half]}{marks[1]}{words[half:]}{marks[2]}"
            self.described.append((self.given["d"][-3:], tool["description"]))

    def check(self, body: dict[str, Any]) -> None:
        """That every mark is in the service's body once, in order, with all of its text.

        The order is that of turns, and within a turn that of each channel: words, results, inputs and images stand
        in members of their own, between which the service's format keeps none. Of thinking a turn keeps one.
        """
        turns = spoken_words(body)
        found: list[int] = []
        for turn in turns:
            words, results = _marks(turn.words, "t"), _marks("".join(turn.results), "t")
            assert words == sorted(words)
            assert results == sorted(results)
            found += sorted(words + results)
        assert found == self.given["t"]
        said = "\n".join(text for turn in turns for text in (turn.words, *turn.results))
        assert all(text in said for text in self.texts)
        assert [each for turn in turns for each in turn.inputs] == self.inputs
        thoughts = [number for turn in turns for number in _marks(turn.thinking, "h")]
        assert thoughts == sorted(set(thoughts) & set(self.given["h"]))
        assert _images(body) == self.images
        current = body["conversationState"]["currentMessage"]["userInputMessage"]["userInputMessageContext"]
        for tool in current.get("tools", ()):
            description = tool["toolSpecification"]["description"]
            if marks := _marks(description, "d"):
                ((own, whole),) = [each for each in self.described if marks[0] in each[0]]
                assert [each for each in _marks(description + turns[0].words, "d") if each in own] == own
                assert whole[_common(whole, description) :] in turns[0].words


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common from the beginning."""
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))


def _marks(words: str, kind: str) -> list[int]:
    return [int(number) for found, number in _MARK.findall(words) if found == kind]


def _images(body: dict[str, Any]) -> list[str]:
    state = body["conversationState"]
    users = [turn.get("userInputMessage", {}) for turn in [*state.get("history", []), state["currentMessage"]]]
    return [image["source"]["bytes"] for each in users for image in each.get("images", [])]

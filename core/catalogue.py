"""The models that are offered: what a client calls them, what the service calls them, how large their window is.

The list itself is data (it ships with the package, and the configuration extends it); no name stands in code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from core.anthropic import shorten
from core.errors import ClientRequestError


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One offered model. `context_window` is in tokens, `created_at` an RFC 3339 date."""

    name: str
    id: str
    context_window: int = 200_000
    display_name: str
    created_at: str = "1970-01-01T00:00:00Z"


Catalogue: TypeAlias = Mapping[str, Model]
"""Models by the name that clients use, in the order in which they are listed."""


def find_model(catalogue: Catalogue, name: str) -> Model:
    """The model of that name. There is no fallback.

    Raises:
        ClientRequestError: no such model; lists those that are.
    """
    if (model := catalogue.get(name)) is None:
        known = ", ".join(catalogue) or "none"
        raise ClientRequestError(
            "model", f"{shorten(name)} is not offered here; the models are: {known}", error_type="not_found_error"
        )
    return model


def render_model(model: Model) -> dict[str, Any]:
    """One entry of `GET /v1/models`."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.display_name,
        "created_at": model.created_at,
    }


def render_models(
    catalogue: Catalogue, *, limit: str | None, after_id: str | None, before_id: str | None
) -> dict[str, Any]:
    """A page of `GET /v1/models`; the arguments are the query's, unchecked.

    Raises:
        ClientRequestError: a limit that is none, a cursor that names no model, or both cursors at once.
    """
    count = _parse_limit(limit)
    names = list(catalogue)
    for place, cursor in (("after_id", after_id), ("before_id", before_id)):
        if cursor is not None and cursor not in catalogue:
            raise ClientRequestError(place, f"{shorten(cursor)} is no model of this list")
    if after_id is not None and before_id is not None:
        raise ClientRequestError("before_id", "cannot be combined with after_id")
    if before_id is not None:
        end = names.index(before_id)
        start = max(0, end - count)
        has_more = start > 0
    else:
        start = 0 if after_id is None else names.index(after_id) + 1
        end = min(len(names), start + count)
        has_more = end < len(names)
    page = names[start:end]
    return {
        "data": [render_model(catalogue[name]) for name in page],
        "has_more": has_more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _parse_limit(limit: str | None) -> int:
    if limit is None:
        return 20
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= 1000):
        raise ClientRequestError("limit", f"expected 1 to 1000, got {shorten(limit)}")
    return int(limit)

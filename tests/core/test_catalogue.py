"""The models that are offered: found by name, never by guess, and listed in pages."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalogue import Model, find_model, render_model, render_models
from core.errors import ClientRequestError

CATALOGUE = {
    name: Model(name=name, id=f"upstream-{name}", display_name=name.upper(), created_at="2026-01-01T00:00:00Z")
    for name in ("a", "b", "c", "d", "e")
}


def _page(limit: str | None = None, after: str | None = None, before: str | None = None) -> tuple[list[str], bool]:
    page = render_models(CATALOGUE, limit=limit, after_id=after, before_id=before)
    names = [entry["id"] for entry in page["data"]]
    assert page["first_id"] == (names[0] if names else None)
    assert page["last_id"] == (names[-1] if names else None)
    return names, page["has_more"]


def test_a_model_is_found_by_the_name_that_clients_use() -> None:
    assert find_model(CATALOGUE, "b") is CATALOGUE["b"]
    assert find_model(CATALOGUE, "b").id == "upstream-b"


@pytest.mark.parametrize("name", ["upstream-b", "B", "b ", "", "claude"])
def test_another_name_is_not_found_and_the_error_lists_those_that_are(name: str) -> None:
    with pytest.raises(ClientRequestError) as caught:
        find_model(CATALOGUE, name)
    assert caught.value.error_type == "not_found_error"
    assert str(caught.value) == f"model: {name!r} is not offered here; the models are: a, b, c, d, e"


def test_with_no_models_the_error_says_so() -> None:
    with pytest.raises(ClientRequestError, match=r"the models are: none$"):
        find_model({}, "a")


def test_a_name_as_long_as_a_request_is_not_sent_back_whole() -> None:
    with pytest.raises(ClientRequestError) as caught:
        find_model(CATALOGUE, "x" * 1_000_000)
    assert caught.value.problem == f"'{'x' * 60}...' is not offered here; the models are: a, b, c, d, e"


def test_a_model_is_shown_as_clients_know_it() -> None:
    assert render_model(CATALOGUE["a"]) == {
        "type": "model",
        "id": "a",
        "display_name": "A",
        "created_at": "2026-01-01T00:00:00Z",
    }


def test_a_model_of_unknown_age_has_the_epoch_as_its_date() -> None:
    model = Model(name="n", id="i", display_name="N")
    assert (model.context_window, render_model(model)["created_at"]) == (200_000, "1970-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("limit", "after", "before", "names", "has_more"),
    [
        (None, None, None, "abcde", False),
        ("5", None, None, "abcde", False),
        ("4", None, None, "abcd", True),
        ("1000", None, None, "abcde", False),
        ("2", "a", None, "bc", True),
        ("2", "c", None, "de", False),
        ("2", "e", None, "", False),
        ("2", None, "d", "bc", True),
        ("2", None, "c", "ab", False),
        ("2", None, "a", "", False),
        (None, None, "e", "abcd", False),
    ],
)
def test_a_page_is_what_the_cursor_and_the_limit_say(
    limit: str | None, after: str | None, before: str | None, names: str, has_more: bool
) -> None:
    assert _page(limit, after, before) == (list(names), has_more)


def test_twenty_models_are_a_page_where_nobody_says_otherwise() -> None:
    many = {str(number): Model(name=str(number), id="i", display_name="n") for number in range(21)}
    page = render_models(many, limit=None, after_id=None, before_id=None)
    assert (len(page["data"]), page["has_more"], page["last_id"]) == (20, True, "19")


def test_an_empty_list_is_an_empty_page() -> None:
    assert render_models({}, limit=None, after_id=None, before_id=None) == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


@pytest.mark.parametrize("limit", ["", "0", "-1", "+5", "1001", "99999", "1.5", "٥", "²", " 5", "five"])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(ClientRequestError, match=re.escape(f"limit: expected 1 to 1000, got {limit!r}")):
        _page(limit)


@pytest.mark.parametrize(("after", "before", "place"), [("z", None, "after_id"), (None, "z", "before_id")])
def test_a_cursor_that_names_no_model_is_refused(after: str | None, before: str | None, place: str) -> None:
    with pytest.raises(ClientRequestError, match=f"^{place}: 'z' is no model of this list$"):
        _page(None, after, before)


def test_both_cursors_at_once_are_refused() -> None:
    with pytest.raises(ClientRequestError, match=r"^before_id: cannot be combined with after_id$"):
        _page(None, "a", "c")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 12), st.integers(1, 13))
def test_pages_in_a_row_are_the_whole_list_in_either_direction(count: int, limit: int) -> None:
    many = {f"m{number}": Model(name=f"m{number}", id="i", display_name="n") for number in range(count)}
    forward: list[str] = []
    cursor, more = None, True
    while more:
        page = render_models(many, limit=str(limit), after_id=cursor, before_id=None)
        forward += [entry["id"] for entry in page["data"]]
        cursor, more = page["last_id"], page["has_more"]
    assert forward == list(many)
    if not many:
        return
    backward: list[str] = []
    cursor, more = list(many)[-1], True
    while more:
        page = render_models(many, limit=str(limit), after_id=None, before_id=cursor)
        backward = [entry["id"] for entry in page["data"]] + backward
        cursor, more = page["first_id"], page["has_more"]
    assert backward == list(many)[:-1]

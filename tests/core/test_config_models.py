"""The configuration's models: the shipped list, overridden and extended."""

import msgspec
import pytest

from core.catalogue import Model
from core.config import parse_config
from core.errors import ShellError
from tests.config_documents import SHIPPED, problems_of, read

TWO = Model(
    name="model-two-20260101",
    id="model-two",
    context_window=1_000_000,
    display_name="Model Two",
    created_at="2026-01-01T00:00:00Z",
)
ONE = Model(
    name="model-one",
    id="MODEL_ONE_V1_0",
    context_window=200_000,
    display_name="Model One",
    created_at="2025-01-01T00:00:00Z",
)


def test_the_shipped_models_are_offered_in_their_order() -> None:
    assert list(read({}).catalogue.items()) == [("model-two-20260101", TWO), ("model-one", ONE)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("other", Model(name="n", id="other", display_name="n")),
        ({"id": "a:b.c-D_1"}, Model(name="n", id="a:b.c-D_1", display_name="n")),
        (
            {"id": "other", "contextWindow": 1000, "displayName": "Ünsere 1"},
            Model(name="n", id="other", context_window=1000, display_name="Ünsere 1"),
        ),
    ],
)
def test_a_model_of_one_s_own_is_added_at_the_end(value: object, expected: Model) -> None:
    catalogue = read({"models": {"n": value}}).catalogue
    assert list(catalogue) == ["model-two-20260101", "model-one", "n"]
    assert catalogue["n"] == expected


@pytest.mark.parametrize(
    ("value", "changed"),
    [
        ("other", {"id": "other"}),
        ({"id": "other"}, {"id": "other"}),
        ({"contextWindow": 5000}, {"context_window": 5000}),
        ({"displayName": "Mine"}, {"display_name": "Mine"}),
        ({}, {}),
    ],
)
def test_a_shipped_model_is_overridden_in_its_place_as_far_as_the_document_says(
    value: object, changed: dict[str, object]
) -> None:
    catalogue = read({"models": {"model-one": value}}).catalogue
    assert list(catalogue) == ["model-two-20260101", "model-one"]
    assert catalogue["model-one"] == msgspec.structs.replace(ONE, **changed)
    assert catalogue["model-two-20260101"] == TWO


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"n": None}, "models.n: expected the service's id of a model, or an object with it, got null"),
        ({"model-one": None}, "models.model-one: expected the service's id of a model, or an object with it, got null"),
        ({"n": ""}, "models.n: expected the service's id of a model, or an object with it, got ''"),
        ({"n": "a b"}, "models.n: expected the service's id of a model, or an object with it, got 'a b'"),
        ({"n.1": 5}, "models['n.1']: expected the service's id of a model, or an object with it, got 5"),
        (
            {"n": {}},
            "models.n.id: expected the service's id of the model, because no model of this name is known; got none",
        ),
        (
            {"n": {"id": "x" * 1025}},
            "models.n.id: expected 1 to 1024 letters, digits and _:.-, the service's id of a model, "
            f"got '{'x' * 40}'...",
        ),
        (
            {"model-one": {"id": None}},
            "models.model-one.id: expected 1 to 1024 letters, digits and _:.-, the service's id of a model, got null",
        ),
        (
            {"model-one": {"contextWindow": 999}},
            "models.model-one.contextWindow: expected a whole number from 1000 to 1000000000, got 999",
        ),
        (
            {"model-one": {"contextWindow": 1e5}},
            "models.model-one.contextWindow: expected a whole number from 1000 to 1000000000, got 100000.0",
        ),
        (
            {"model-one": {"displayName": ""}},
            "models.model-one.displayName: expected 1 to 256 printable characters, got ''",
        ),
        (
            {"model-one": {"displayName": "\ud800"}},
            r"models.model-one.displayName: expected 1 to 256 printable characters, got '\ud800'",
        ),
        (
            {"model-one": {"displayname": "x"}},
            "models.model-one.displayname: unknown key; did you mean displayName?",
        ),
        (
            {"a b": "x"},
            "models['a b']: the name of a model: expected 1 to 256 visible ASCII characters, got 'a b'",
        ),
        ({"": "x"}, "models['']: the name of a model: expected 1 to 256 visible ASCII characters, got ''"),
    ],
)
def test_a_model_that_is_wrong_is_refused_where_it_is(models: object, expected: str) -> None:
    assert problems_of({"models": models}) == [expected]


@pytest.mark.parametrize(
    "shipped",
    [
        None,
        [],
        {"m": "id"},
        {"m": {"id": "x"}},
        {"m": SHIPPED["model-one"] | {"id": "a b"}},
        {"m": SHIPPED["model-one"] | {"contextWindow": 5}},
        {"m": SHIPPED["model-one"] | {"more": 1}},
    ],
)
def test_a_shipped_list_that_is_wrong_is_our_own_fault(shipped: object) -> None:
    with pytest.raises(ShellError, match=r"^the shipped list of models is wrong: "):
        parse_config({}, environment={}, shipped_models=shipped, home="/")

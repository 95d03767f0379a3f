"""Round robin over the accounts that may be used now."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from core.selection import Provider, choose


def _providers(count: int) -> list[Provider]:
    return [
        Provider(id=f"p{number}", token_file=f"/{number}.json", original_provider_id=f"p{number}")
        for number in range(count)
    ]


def _rounds(providers: list[Provider], excluded: set[str], count: int, cursor: int = 0) -> list[str]:
    chosen = []
    for _ in range(count):
        provider, cursor = choose(providers, cursor, excluded)
        assert provider is not None
        chosen.append(provider.id)
    return chosen


def test_each_has_its_turn_in_the_order_of_the_configuration() -> None:
    assert _rounds(_providers(3), set(), 7) == ["p0", "p1", "p2", "p0", "p1", "p2", "p0"]


def test_who_is_excluded_is_passed_over_and_nobody_has_two_turns_for_it() -> None:
    assert _rounds(_providers(3), {"p1"}, 5) == ["p0", "p2", "p0", "p2", "p0"]


def test_who_comes_back_has_a_turn_in_its_place() -> None:
    providers = _providers(3)
    first, cursor = choose(providers, 0, {"p1"})
    second, cursor = choose(providers, cursor, {"p1"})
    third, cursor = choose(providers, cursor)
    fourth, _ = choose(providers, cursor)
    assert [each.id for each in (first, second, third, fourth) if each] == ["p0", "p2", "p0", "p1"]


def test_failing_over_within_one_request_does_not_take_the_next_one_s_turn_twice() -> None:
    providers = _providers(4)
    cursor, used = 0, []
    for _ in range(6):
        failed: set[str] = set()
        while True:
            provider, cursor = choose(providers, cursor, failed)
            assert provider is not None
            if provider.id != "p1":
                break
            failed.add(provider.id)
        used.append(provider.id)
    assert used == ["p0", "p2", "p3", "p0", "p2", "p3"]


def test_where_none_is_left_there_is_none_and_the_cursor_stays() -> None:
    assert choose([], 3) == (None, 3)
    assert choose(_providers(2), 1, {"p0", "p1"}) == (None, 1)


def test_a_cursor_from_a_longer_list_still_finds_someone() -> None:
    provider, cursor = choose(_providers(2), 7)
    assert provider is not None
    assert (provider.id, cursor) == ("p1", 2)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(0, 20))
def test_over_any_window_the_counts_differ_by_at_most_one(data: st.DataObject, count: int, cursor: int) -> None:
    providers = _providers(count)
    excluded = set(data.draw(st.lists(st.sampled_from([each.id for each in providers]), max_size=count - 1)))
    chosen = _rounds(providers, excluded, 40, cursor)
    assert not set(chosen) & excluded
    start = data.draw(st.integers(0, 39))
    counts = Counter(chosen[start : data.draw(st.integers(start, 40))])
    usable = [each.id for each in providers if each.id not in excluded]
    assert max(counts[each] for each in usable) - min(counts[each] for each in usable) <= 1

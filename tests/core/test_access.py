"""Who may ask, and who may look and act: whoever has the key, or this machine where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access import check_access, check_admin
from core.errors import ClientRequestError

KEYS = ("made-up-key-one", "made-up-key-two")


def judge(
    headers: dict[str, str],
    *,
    keys: tuple[str, ...] = (),
    client: str | None = "127.0.0.1",
    server: str | None = "127.0.0.1",
) -> str:
    """`""` for a request that may pass, else the error's type."""
    try:
        check_access(headers, api_keys=keys, client=client, server=server)
    except ClientRequestError as error:
        return error.error_type
    return ""


def judge_admin(
    headers: dict[str, str],
    *,
    key: str | None = None,
    client: str | None = "127.0.0.1",
    server: str | None = "127.0.0.1",
) -> str:
    """The same for a request to look at the accounts, or to act on them."""
    try:
        check_admin(headers, admin_key=key, bind="127.0.0.1", client=client, server=server)
    except ClientRequestError as error:
        return error.error_type
    return ""


def test_no_key_is_ever_repeated() -> None:
    headers = {"x-api-key": "made-up-wrong", "authorization": "Bearer made-up-wrong"}
    with pytest.raises(ClientRequestError) as caught:
        check_access(headers, api_keys=KEYS, client="127.0.0.1", server="127.0.0.1")
    assert "made-up" not in str(caught.value)
    with pytest.raises(ClientRequestError) as caught:
        check_admin(headers, admin_key="made-up-admin-key", bind="127.0.0.1", client="127.0.0.1", server="127.0.0.1")
    assert "made-up" not in str(caught.value)


WITH_KEYS = pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-api-key": "made-up-key-one"}, ""),
        ({"x-api-key": "made-up-key-two"}, ""),
        ({"authorization": "Bearer made-up-key-two"}, ""),
        ({"authorization": "bearer  made-up-key-one "}, ""),
        ({"x-api-key": "wrong", "authorization": "Bearer made-up-key-one"}, ""),
        ({"x-api-key": "made-up-key-one", "authorization": "Bearer wrong"}, ""),
        ({}, "authentication_error"),
        ({"x-api-key": ""}, "authentication_error"),
        ({"x-api-key": "made-up-key-on"}, "authentication_error"),
        ({"x-api-key": "made-up-key-one "}, "authentication_error"),
        ({"authorization": "Basic made-up-key-one"}, "authentication_error"),
        ({"authorization": "made-up-key-one"}, "authentication_error"),
        ({"authorization": "Bearer"}, "authentication_error"),
        ({"x-api-key": "\udcff\u00e9"}, "authentication_error"),
    ],
)


@WITH_KEYS
def test_any_key_passes_in_either_header(headers: dict[str, str], expected: str) -> None:
    assert judge(headers, keys=KEYS) == expected


def test_a_key_passes_from_anywhere() -> None:
    headers = {"x-api-key": KEYS[0], "host": "example.com", "origin": "https://example.com"}
    assert judge(headers, keys=KEYS, client="203.0.113.9", server="203.0.113.1") == ""


HOSTS = pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", ""),
        ("LOCALHOST:8990", ""),
        ("127.0.0.1:8990", ""),
        ("127.9.9.9", ""),
        ("[::1]:8990", ""),
        ("example.com", "permission_error"),
        ("127.0.0.1.example.com", "permission_error"),
        ("localhost.example.com:8990", "permission_error"),
        ("example.com:127.0.0.1", "permission_error"),
        ("localhost@example.com", "permission_error"),
        ("example.com@localhost", "permission_error"),
        ("example.com#localhost", "permission_error"),
        ("0.0.0.0:8990", "permission_error"),
        ("[::1", "permission_error"),
        ("localhost, localhost", "permission_error"),
        ("", "permission_error"),
    ],
)


@HOSTS
def test_without_keys_the_host_has_to_name_this_machine(host: str, expected: str) -> None:
    assert judge({"host": host}) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:3000", ""),
        ("https://127.0.0.1", ""),
        ("http://[::1]:8990", ""),
        ("null", "permission_error"),
        ("https://example.com", "permission_error"),
        ("http://localhost.example.com", "permission_error"),
        ("file://", "permission_error"),
        ("", "permission_error"),
        ("http://[::1", "permission_error"),
    ],
)
def test_without_keys_the_origin_has_to_name_this_machine(origin: str, expected: str) -> None:
    assert judge({"host": "localhost", "origin": origin}) == expected


ENDS = pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", ""),
        ("::1", "::1", ""),
        ("203.0.113.9", "127.0.0.1", "permission_error"),
        ("127.0.0.1", "203.0.113.1", "permission_error"),
        (None, "127.0.0.1", "permission_error"),
        ("127.0.0.1", None, "permission_error"),
        ("", "127.0.0.1", "permission_error"),
        ("::ffff:127.0.0.1", "::1", "permission_error"),
    ],
)


@ENDS
def test_without_keys_both_ends_have_to_be_loopback(client: str | None, server: str | None, expected: str) -> None:
    assert judge({}, client=client, server=server) == expected


@given(st.dictionaries(st.sampled_from(["host", "origin", "x-api-key", "authorization"]), st.text()), st.booleans())
def test_any_header_is_judged(headers: dict[str, str], keyed: bool) -> None:
    assert judge(headers, keys=KEYS if keyed else ()) in ("", "authentication_error", "permission_error")


# --- the accounts: the admin key ---------------------------------------------------------------------------------


@WITH_KEYS
def test_the_admin_key_passes_in_either_header_and_no_client_s_does(headers: dict[str, str], expected: str) -> None:
    offered = " ".join(headers.values())
    assert judge_admin(headers, key="made-up-key-one") == (expected if KEYS[0] in offered else "authentication_error")
    assert judge_admin(headers, key="made-up-admin-key") == "authentication_error"


def test_the_admin_key_passes_from_anywhere_and_through_proxies() -> None:
    headers = {"x-api-key": "made-up", "host": "example.com", "x-forwarded-for": "203.0.113.9", "via": "1.1 proxy"}
    headers |= {"origin": "https://example.com", "sec-fetch-site": "cross-site"}
    assert judge_admin(headers, key="made-up", client="203.0.113.9", server="203.0.113.1") == ""
    assert judge_admin(headers, key="made-up", client=None, server=None) == ""


def test_being_on_this_machine_is_no_admin_key() -> None:
    headers = {"host": "localhost:8990"}
    assert judge_admin(headers) == ""
    assert judge_admin(headers, key="made-up") == "authentication_error"


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"authorization": "Bearer "}, {"authorization": "bearer"}])
def test_a_key_of_nothing_lets_nobody_in(headers: dict[str, str]) -> None:
    assert judge_admin(headers, key="") == "authentication_error"
    assert judge(headers, keys=("",)) == "authentication_error"


# --- the accounts: this machine ------------------------------------------------------------------------------------


@HOSTS
def test_without_an_admin_key_the_host_has_to_name_this_machine(host: str, expected: str) -> None:
    assert judge_admin({"host": host}) == expected


@ENDS
def test_without_an_admin_key_both_ends_have_to_be_loopback(
    client: str | None, server: str | None, expected: str
) -> None:
    assert judge_admin({}, client=client, server=server) == expected


def test_without_an_admin_key_a_client_s_key_is_of_no_use_and_of_no_harm() -> None:
    assert judge_admin({"x-api-key": KEYS[0]}) == ""
    assert judge_admin({"x-api-key": KEYS[0]}, client="203.0.113.9") == "permission_error"


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:8990", "http://localhost:8990", ""),
        ("LOCALHOST:8990", "HTTP://localhost:8990", ""),
        ("127.0.0.1:8990", "https://127.0.0.1:8990", ""),
        ("[::1]:8990", "http://[::1]:8990", ""),
        ("localhost", "http://localhost", ""),
        ("localhost:8990", "http://localhost:3000", "permission_error"),
        ("localhost:8990", "http://localhost", "permission_error"),
        ("localhost:8990", "http://127.0.0.1:8990", "permission_error"),
        ("localhost", "tauri://localhost", "permission_error"),
        ("localhost:8990", "https://example.com", "permission_error"),
        ("localhost:8990", "null", "permission_error"),
        ("localhost:8990", "", "permission_error"),
        ("localhost:8990", "http://localhost:8990, http://localhost:8990", "permission_error"),
        (None, "http://localhost:8990", "permission_error"),
        (None, "http://", "permission_error"),
    ],
)
def test_without_an_admin_key_a_page_has_to_be_the_gateway_s_own(host: str | None, origin: str, expected: str) -> None:
    headers = {"origin": origin} | ({} if host is None else {"host": host})
    assert judge_admin(headers) == expected


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("same-origin", ""),
        ("none", ""),
        ("same-site", "permission_error"),
        ("cross-site", "permission_error"),
        ("", "permission_error"),
        ("none, cross-site", "permission_error"),
        ("None", "permission_error"),
    ],
)
def test_without_an_admin_key_no_other_site_may_have_sent_the_request(site: str, expected: str) -> None:
    assert judge_admin({"host": "localhost", "sec-fetch-site": site}) == expected


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "via",
        "cdn-loop",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-server",
        "x-forwarded-prefix",
        "x-forwarded-anything",
        "forwarded-for",
        "fly-forwarded-port",
        "cloudfront-forwarded-proto",
        "x-original-for",
        "x-original-host",
        "x-original-url",
        "x-original-forwarded-for",
        "x-real-ip",
        "x-real-port",
        "x-arr-log-id",
        "x-envoy-external-address",
        "x-envoy-expected-rq-timeout-ms",
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "cf-ray",
        "cf-visitor",
        "true-client-ip",
        "client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "do-connecting-ip",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-appengine-user-ip",
        "x-proxyuser-ip",
        "wl-proxy-client-ip",
        "x-remote-ip",
        "x-remote-addr",
        "remote-addr",
        "cloudfront-viewer-address",
    ],
)
def test_without_an_admin_key_nobody_passes_through_a_proxy(name: str) -> None:
    headers = {"host": "localhost:8990", name: "127.0.0.1"}
    assert judge_admin(headers) == "permission_error"
    assert judge_admin(headers | {name: ""}) == "permission_error"
    assert judge(headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:8990", "user-agent": "curl/8.5.0", "accept": "*/*"},
        {
            "host": "127.0.0.1:8990",
            "accept-encoding": "gzip, deflate",
            "connection": "keep-alive",
            "user-agent": "python-httpx/0.28.1",
            "content-type": "application/json",
            "content-length": "0",
        },
        {
            "host": "localhost:8990",
            "user-agent": "Prometheus/3.5.0",
            "accept": "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
            "x-prometheus-scrape-timeout-seconds": "10",
        },
        {
            "host": "localhost:8990",
            "upgrade-insecure-requests": "1",
            "sec-fetch-site": "none",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
            "sec-ch-ua-platform": '"Linux"',
            "cookie": "other=server",
        },
        {
            "host": "localhost:8990",
            "origin": "http://localhost:8990",
            "referer": "http://localhost:8990/",
            "sec-fetch-site": "same-origin",
        },
    ],
)
def test_programs_and_the_browser_s_own_user_on_this_machine_pass(headers: dict[str, str]) -> None:
    assert judge_admin(headers) == ""


@pytest.mark.parametrize(
    ("headers", "client", "problem"),
    [
        ({}, "203.0.113.9", "the peer's address is not a loopback address"),
        ({"host": "example.com"}, "127.0.0.1", "the Host header does not name this machine"),
        ({"origin": "http://example.com"}, "127.0.0.1", "the Origin header does not name this machine"),
        ({"origin": "http://localhost"}, "127.0.0.1", "the Origin header names another server of this machine"),
        ({"via": "1.1 marked"}, "127.0.0.1", "a proxy passed the request on"),
        (
            {"sec-fetch-site": "marked"},
            "127.0.0.1",
            "the Sec-Fetch-Site header says that another site's page sent the request",
        ),
    ],
)
def test_who_is_refused_is_told_why_and_what_to_set(headers: dict[str, str], client: str, problem: str) -> None:
    with pytest.raises(ClientRequestError) as caught:
        check_admin(headers, admin_key=None, bind="127.0.0.1", client=client, server="127.0.0.1")
    advice = "and the gateway has no admin key: set server.adminKey, and send it"
    assert str(caught.value) == f"{problem}, {advice}"


def test_who_has_not_the_admin_key_is_told_which_one_is_meant() -> None:
    with pytest.raises(ClientRequestError) as caught:
        check_admin({}, admin_key="made-up", bind="127.0.0.1", client="127.0.0.1", server="127.0.0.1")
    assert str(caught.value) == ("the gateway's admin key (server.adminKey) is needed, in x-api-key or Authorization")


_NAMES = st.sampled_from(["host", "origin", "sec-fetch-site", "via", "x-forwarded-for", "x-api-key"]) | st.text()


@given(st.dictionaries(_NAMES, st.text() | st.sampled_from(["localhost", "http://localhost", "none", "made-up"])))
def test_who_may_act_on_this_machine_s_word_may_ask_on_it_too(headers: dict[str, str]) -> None:
    assert judge_admin(headers) in ("", "permission_error")
    assert judge_admin(headers) == "permission_error" or judge(headers) == ""
    assert judge_admin(headers, client="203.0.113.9") == "permission_error"
    passes = headers.get("x-api-key") == "made-up"
    assert judge_admin(headers, key="made-up") == ("" if passes else "authentication_error")


def _run_from_here(bind: str, key: str | None) -> None:
    check_admin({"x-api-key": "made-up"}, admin_key=key, bind=bind, client="127.0.0.1", server="127.0.0.1")


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_a_gateway_for_other_machines_too_is_run_with_an_admin_key_alone(bind: str) -> None:
    with pytest.raises(ClientRequestError, match=r"server\.adminKey") as refusal:
        _run_from_here(bind, None)
    assert refusal.value.error_type == "permission_error"
    _run_from_here(bind, "made-up")


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "localhost"])
def test_a_gateway_for_this_machine_alone_is_run_without(bind: str) -> None:
    _run_from_here(bind, None)

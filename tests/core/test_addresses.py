"""Addresses: what is loopback, what can be listened on, and where a token may be sent."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.addresses import AddressError, is_loopback, local_url, split_bind, split_url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("128.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::1%lo", False),
        ("[::1]", False),
        ("127.1", False),
        ("0x7f000001", False),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("127.0.0.1\n", False),
        ("", False),
    ],
)
def test_only_this_machine_s_own_addresses_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@given(st.ip_addresses())
def test_an_address_is_loopback_when_its_network_says_so(address: object) -> None:
    text = str(address)
    assert is_loopback(text) is (text.startswith("127.") or text == "::1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8990", ("127.0.0.1", 8990)),
        ("[::1]:8990", ("::1", 8990)),
        ("[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("localhost:0", ("localhost", 0)),
        ("a_host-1.example.com:65535", ("a_host-1.example.com", 65535)),
        ("0.0.0.0:00080", ("0.0.0.0", 80)),
    ],
)
def test_a_bind_address_is_split_into_bare_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert split_bind(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":8990",
        "8990",
        "localhost",
        "localhost:",
        "localhost:-1",
        "localhost:+80",
        "localhost:8O",
        "localhost:٨٠",
        "localhost:123456",
        " localhost:80",
        "localhost:80\n",
        "::1:8990",
        "[::1]",
        "[]:80",
        "[127.0.0.1]:80",
        "[::1%lo]:80",
        "[[::1]]:80",
        "127.1:80",
        "256.0.0.1:80",
        "1:80",
        "-host:80",
        "host-:80",
        "a..b:80",
        "host.:80",
        "http://localhost:80",
        "user@host:80",
        f"{'a' * 64}:80",
        f"{'.'.join(['a' * 63] * 4)}:80",
    ],
)
def test_what_is_no_bind_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match=r"expected HOST:PORT, such as .*, got '"):
        split_bind(text)


def test_a_port_that_is_too_large_is_named() -> None:
    with pytest.raises(AddressError, match=r"^expected a port from 0 to 65535, got 65536$"):
        split_bind("localhost:65536")


def test_a_long_bind_address_is_shortened_in_the_error() -> None:
    with pytest.raises(AddressError) as caught:
        split_bind("x" * 5000)
    assert str(caught.value).endswith(f"got '{'x' * 40}'...")


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_and_port_come_back(address: object, port: int) -> None:
    host = str(address)
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if "%" not in host:
        assert split_bind(text) == (host, port)


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:8990", "http://127.0.0.1:8990"),
        ("127.0.0.2:80", "http://127.0.0.2:80"),
        ("localhost:65535", "http://localhost:65535"),
        ("[::1]:8990", "http://[::1]:8990"),
        ("0.0.0.0:8990", "http://127.0.0.1:8990"),
        ("[::]:8990", "http://[::1]:8990"),
        ("[0:0:0:0:0:0:0:0]:8990", "http://[::1]:8990"),
        ("[2001:DB8:0::1]:1", "http://[2001:db8::1]:1"),
        ("192.0.2.1:1", "http://192.0.2.1:1"),
        ("gateway.example.com:443", "http://gateway.example.com:443"),
        ("127.0.0.1:0", None),
        ("[::]:0", None),
        ("localhost:0", None),
    ],
)
def test_a_server_is_reached_from_its_machine_where_it_listens(bind: str, expected: str | None) -> None:
    assert local_url(*split_bind(bind)) == expected


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_server_on_every_address_is_reached_at_a_loopback_one_and_any_other_at_its_own(
    address: object, port: int
) -> None:
    url = local_url(str(address).partition("%")[0], port)
    assert url is not None
    host, reached = split_bind(url.removeprefix("http://"))
    assert reached == port
    assert is_loopback(host) if str(address) in ("0.0.0.0", "::") else host == str(address).partition("%")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://q.us-east-1.amazonaws.com", ("https://q.us-east-1.amazonaws.com", "")),
        ("https://q.us-east-1.amazonaws.com/", ("https://q.us-east-1.amazonaws.com", "/")),
        ("HTTPS://example.com:8443/refresh/token", ("https://example.com:8443", "/refresh/token")),
        ("https://[2001:db8::1]:443/x", ("https://[2001:db8::1]:443", "/x")),
        ("https://192.0.2.1", ("https://192.0.2.1", "")),
        ("http://127.0.0.1:9000", ("http://127.0.0.1:9000", "")),
        ("http://localhost/refreshToken", ("http://localhost", "/refreshToken")),
        ("http://[::1]:9000/a%20b", ("http://[::1]:9000", "/a%20b")),
    ],
)
def test_an_address_that_tokens_may_be_sent_to_is_split_into_origin_and_path(
    text: str, expected: tuple[str, str]
) -> None:
    assert split_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:marked-password@example.com",
        "https://marked-password@127.0.0.1",
        "https://example.com?token=marked-password",
        "https://example.com/a?token=marked-password",
        "https://example.com/#marked-password",
        "https://example.com/a b",
        "https://example.com/ä",
        "https://exa mple.com",
        "https://example.com:",
        "https://example.com:x",
        "https://example.com\n",
        "https://example.com\\@127.0.0.1",
        "https://example.com/\\evil",
        "https://[::1",
        "https://[nothing]",
        "https://127.1",
        "https://exam..ple",
    ],
)
def test_an_address_that_tokens_may_not_be_sent_to_is_refused_unseen(text: str) -> None:
    with pytest.raises(AddressError, match=r"^expected https://HOST") as caught:
        split_url(text)
    assert "marked-password" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["http://example.com", "http://127.0.0.1.example.com/", "http://0.0.0.0", "http://192.168.0.1:80/x"]
)
def test_plain_http_is_for_loopback_only(text: str) -> None:
    with pytest.raises(AddressError, match=r"^expected https, which only a loopback address may do without; got http$"):
        split_url(text)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_cannot_be_called_is_named(port: str) -> None:
    with pytest.raises(AddressError, match=f"^expected a port from 1 to 65535, got {port}$"):
        split_url(f"https://example.com:{port}")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="htps:/[]@.#?\\ %0127aZ\n", max_size=30) | st.text(max_size=30))
@example("http://127.0.0.1")
def test_whatever_is_taken_has_a_scheme_a_host_and_nothing_hidden(text: str) -> None:
    try:
        origin, path = split_url(text)
    except AddressError:
        return
    assert origin.startswith(("https://", "http://"))
    assert origin.lower() + path == text[: len(origin)].lower() + text[len(origin) :]
    assert not set("@?#\\ \n") & set(origin + path)

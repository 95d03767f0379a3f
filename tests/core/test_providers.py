"""The providers of a document: expansion, token files, profiles and addresses."""

import re
from typing import Any

import pytest

from core.credentials import region_of_profile
from core.selection import Provider
from tests.config_documents import ARN, HOME, account, full_document, problems_of, provider, read


def test_without_providers_there_is_one_on_the_token_that_kiro_leaves() -> None:
    assert read({}).providers == (
        Provider(id="kiro", token_file=f"{HOME}/.aws/sso/cache/kiro-auth-token.json", original_provider_id="kiro"),
    )


def test_accounts_become_providers_that_remember_where_they_came_from() -> None:
    assert read(full_document()).providers == (
        Provider(
            id="kiro-gmail",
            token_file=f"{HOME}/.aws/sso/cache/kiro-auth-token.json",
            profile_arn=ARN,
            original_provider_id="kiro-gmail",
            account_index=0,
            total_accounts=1,
        ),
        Provider(
            id="team-account1",
            token_file=f"{HOME}/.aws/sso/cache/a.json",
            profile_arn=ARN,
            endpoint="https://q.us-east-1.amazonaws.com",
            original_provider_id="team",
            account_index=0,
            total_accounts=2,
        ),
        Provider(
            id="team-account2",
            token_file=f"{HOME}/.aws/sso/cache/b.json",
            profile_arn=ARN,
            endpoint="https://q.us-east-1.amazonaws.com",
            original_provider_id="team",
            account_index=1,
            total_accounts=2,
        ),
    )


def test_a_single_account_in_a_list_is_expanded_too() -> None:
    (only,) = read({"providers": {"p": {"type": "codewhisperer", "accounts": [{}]}}}).providers
    assert (only.id, only.original_provider_id, only.account_index, only.total_accounts) == ("p-account1", "p", 0, 1)


@pytest.mark.parametrize("key", ["endpoint", "accounts"])
def test_null_is_the_same_as_no_value(key: str) -> None:
    assert read(provider(**{key: None})) == read(provider())


@pytest.mark.parametrize("name", ["a", "kiro-gmail", "Some.Body+1@example.com", "0", "x" * 64])
def test_the_names_that_people_give_accounts_are_taken(name: str) -> None:
    document = {"providers": {name: {"type": "codewhisperer", "authentication": {}}}}
    assert [each.id for each in read(document).providers] == [name]


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        ("", "providers['']", "''"),
        ("a b", "providers['a b']", "'a b'"),
        ("a/b", "providers['a/b']", "'a/b'"),
        ("..", "providers['..']", "'..'"),
        ("-a", "providers.-a", "'-a'"),
        ("ä", "providers['ä']", "'ä'"),
        ("a\n", r"providers['a\n']", r"'a\n'"),
        ("x" * 65, f"providers['{'x' * 40}'...]", f"'{'x' * 40}'..."),
    ],
)
def test_a_name_that_could_not_stand_in_a_path_is_refused(name: str, path: str, shown: str) -> None:
    document = {"providers": {name: {"type": "codewhisperer", "authentication": {}}}}
    assert problems_of(document) == [
        f"{path}: the name of a provider: expected 1 to 64 letters, digits and (not first) _.@+-, got {shown}"
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"providers": {}}, ["providers: expected at least one provider, got none"]),
        ({"providers": []}, ["providers: expected an object, got a list"]),
        ({"providers": None}, ["providers: expected an object, got null"]),
        ({"providers": {"p": 5}}, ["providers.p: expected an object, got a number"]),
        (
            {"providers": {"p": {"authentication": {}}}},
            ['providers.p.type: expected "codewhisperer", got none'],
        ),
        (provider(type="anthropic"), ["providers.p.type: expected \"codewhisperer\", got 'anthropic'"]),
        (provider(type=None), ['providers.p.type: expected "codewhisperer", got null']),
        (
            {"providers": {"p": {"type": "codewhisperer"}}},
            ["providers.p: expected one of authentication (one account) and accounts (several), got neither"],
        ),
        (
            provider(accounts=[{"tokenFilePath": "/other"}]),
            ["providers.p: expected one of authentication (one account) and accounts (several), got both"],
        ),
        (provider(authentication=None, accounts=[]), ["providers.p.accounts: expected at least one account, got none"]),
        (provider(authentication=None, accounts=[5]), ["providers.p.accounts[0]: expected an object, got a number"]),
        (provider(authentication=[]), ["providers.p.authentication: expected an object, got a list"]),
        (
            account(accessToken="marked-secret"),
            [
                "providers.p.authentication.accessToken: unknown key; "
                "the keys here are tokenFilePath, profileArn, refreshUrl"
            ],
        ),
        (account(tokenfile="/x"), ["providers.p.authentication.tokenfile: unknown key; did you mean tokenFilePath?"]),
        (provider(account=[]), ["providers.p.account: unknown key; did you mean accounts?"]),
    ],
)
def test_a_provider_that_is_wrong_is_refused_where_it_is(document: object, expected: list[str]) -> None:
    assert problems_of(document) == expected


def test_a_wrong_list_of_accounts_is_no_secret_but_is_not_repeated() -> None:
    told = problems_of(provider(authentication=None, accounts="text"))
    assert told[0] == "providers.p.accounts: expected a list of accounts, got a text"


# --- token files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "home", "expected"),
    [
        ("~/a.json", "/home/somebody", "/home/somebody/a.json"),
        ("~/a.json", "/home/somebody/", "/home/somebody/a.json"),
        ("~/a.json", "/", "/a.json"),
        ("~/a.json", "", "~/a.json"),
        ("~\\a.json", "C:\\Users\\somebody", "C:\\Users\\somebody\\a.json"),
        ("/etc/a.json", "/home/somebody", "/etc/a.json"),
        ("a b/ü.json", "/home/somebody", "a b/ü.json"),
        ("/x/~/a.json", "/home/somebody", "/x/~/a.json"),
    ],
)
def test_a_token_file_s_path_is_taken_with_the_home_folder_put_in(written: str, home: str, expected: str) -> None:
    (only,) = read(account(tokenFilePath=written), home=home).providers
    assert only.token_file == expected


@pytest.mark.parametrize(
    ("written", "shown"),
    [("", "''"), (None, "null"), (5, "5"), ("a\0b", r"'a\x00b'"), ("a\nb", r"'a\nb'"), ("\udc80", r"'\udc80'")],
)
def test_a_path_that_is_none_is_refused(written: object, shown: str) -> None:
    assert problems_of(account(tokenFilePath=written)) == [
        "providers.p.authentication.tokenFilePath: "
        f"expected a file's path of 1 to 4096 printable characters, got {shown}"
    ]


def test_a_path_that_is_too_long_is_refused_and_shortened() -> None:
    (told,) = problems_of(account(tokenFilePath="x" * 4097))
    assert told.endswith(f"got '{'x' * 40}'...")


@pytest.mark.parametrize("written", ["~", "~other/a.json"])
def test_another_user_s_folder_is_not_looked_up(written: str) -> None:
    assert problems_of(account(tokenFilePath=written)) == [
        "providers.p.authentication.tokenFilePath: "
        f"expected a path whose ~ is followed by /: other users' folders are not looked up, got '{written}'"
    ]


@pytest.mark.parametrize(
    "other",
    ["~/a.json", f"{HOME}/a.json", f"{HOME}/./a.json", f"{HOME}//a.json", f"{HOME}/x/../a.json", f"/{HOME}/a.json"],
)
def test_two_accounts_on_one_token_file_are_refused_however_it_is_written(other: str) -> None:
    document = provider(authentication=None, accounts=[{"tokenFilePath": "~/a.json"}, {"tokenFilePath": other}])
    assert problems_of(document) == [
        "providers.p.accounts[1].tokenFilePath: "
        "the same token file as that of providers.p.accounts[0]; one account is one provider"
    ]


def test_two_providers_that_leave_the_token_file_out_share_it_and_are_refused() -> None:
    document = {name: {"type": "codewhisperer", "authentication": {}} for name in ("p", "q")}
    assert problems_of({"providers": document}) == [
        "providers.q.authentication.tokenFilePath: "
        "the same token file as that of providers.p.authentication; one account is one provider"
    ]


@pytest.mark.parametrize(("one", "other"), [("a.json", "/a.json"), ("~/A.json", "~/a.json"), ("/a/b", "/a/b.json")])
def test_different_token_files_are_different_accounts(one: str, other: str) -> None:
    document = provider(authentication=None, accounts=[{"tokenFilePath": one}, {"tokenFilePath": other}])
    assert len(read(document).providers) == 2


def test_names_that_become_alike_by_expansion_are_refused() -> None:
    document: dict[str, Any] = {
        "team": {"type": "codewhisperer", "accounts": [{"tokenFilePath": "/a"}, {"tokenFilePath": "/b"}]},
        "team-account2": {"type": "codewhisperer", "authentication": {"tokenFilePath": "/c"}},
    }
    assert problems_of({"providers": document}) == [
        "providers.team-account2.authentication: "
        "is named 'team-account2' in the rotation, as providers.team.accounts[1] is"
    ]


# --- profiles and addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arn",
    [
        ARN,
        "arn:aws:transform:eu-central-1:000000000000:profile/abcdefABCDEF",
        "arn:aws:codewhisperer:us-gov-west-1:000000000000:profile/000000000000",
    ],
)
def test_a_profile_s_arn_is_taken_and_its_region_is_one_that_tokens_know(arn: str) -> None:
    (only,) = read(account(profileArn=arn)).providers
    assert only.profile_arn == arn
    assert region_of_profile(arn) == arn.split(":")[3]


@pytest.mark.parametrize(
    "arn",
    [
        "...",
        "",
        5,
        ARN.replace("codewhisperer", "s3"),
        ARN.replace("us-east-1", "evil.example.com"),
        ARN.replace("us-east-1", "us-east"),
        ARN.replace("us-east-1", "us-east-1/x"),
        ARN.replace("000000000000", "00000000000"),
        ARN.replace("000000000000", "٠" * 12),
        ARN + "X",
        ARN + "\n",
        " " + ARN,
    ],
)
def test_a_profile_s_arn_that_is_none_is_refused(arn: object) -> None:
    (told,) = problems_of(account(profileArn=arn))
    assert told.startswith(
        "providers.p.authentication.profileArn: expected arn:aws:codewhisperer:REGION:ACCOUNT:profile/ID, got "
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("https://q.eu-central-1.amazonaws.com", "https://q.eu-central-1.amazonaws.com"),
        ("https://q.eu-central-1.amazonaws.com/", "https://q.eu-central-1.amazonaws.com"),
        ("HTTP://127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://[::1]:9/", "http://[::1]:9"),
    ],
)
def test_an_endpoint_is_an_origin(written: str, expected: str) -> None:
    (only,) = read(provider(endpoint=written)).providers
    assert only.endpoint == expected


def test_a_refresh_address_keeps_its_path_and_stands_beside_the_token_file() -> None:
    (only,) = read(account(tokenFilePath="/a", refreshUrl="https://auth.example.com/refreshToken")).providers
    assert only.refresh_url == "https://auth.example.com/refreshToken"
    assert only.endpoint is None
    assert problems_of(provider(refreshUrl="https://auth.example.com"))[0].startswith(
        "providers.p.refreshUrl: unknown key; "
    )


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        (5, "expected an https address, got 5"),
        ("http://example.com", "expected https, which only a loopback address may do without; got http"),
        ("https://example.com/path", "expected an address without a path, got one with a path"),
        (
            "https://user:marked-secret@example.com",
            "expected https://HOST[:PORT][/PATH] without user, query and fragment, got another text",
        ),
        ("https://example.com:0", "expected a port from 1 to 65535, got 0"),
    ],
)
def test_an_endpoint_that_is_none_is_refused_unseen(endpoint: object, problem: str) -> None:
    assert problems_of(provider(endpoint=endpoint)) == [f"providers.p.endpoint: {problem}"]


@pytest.mark.parametrize("url", ["http://example.com/x", "https://example.com/x?token=marked-secret", 5, ""])
def test_a_refresh_address_that_is_none_is_refused_unseen(url: object) -> None:
    (told,) = problems_of(account(refreshUrl=url))
    assert re.match(r"providers\.p\.authentication\.refreshUrl: expected (an )?https", told)
    assert "marked" not in told

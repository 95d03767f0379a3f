"""The document's providers: each account of each as one entry of the rotation.

Knows what an account may say of itself, and that two entries have neither a name nor a token file in common.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from core.addresses import split_url
from core.document import Problem, Section, ValueProblem, array, choice, expected, optional, show, text
from core.selection import Provider

_DEFAULT_TOKEN_FILE = "~/.aws/sso/cache/kiro-auth-token.json"
_DEFAULT_PROVIDERS = {"kiro": {"type": "codewhisperer", "authentication": {"tokenFilePath": _DEFAULT_TOKEN_FILE}}}

# It stands in paths of addresses, in log lines and in labels of figures, as it is; people name accounts by e-mail.
_read_provider_name = text(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}", "1 to 64 letters, digits and (not first) _.@+-")
_read_profile_arn = text(
    # AWS's model allows more for the region; it becomes part of a host name, so it has to be one.
    r"arn:aws:(codewhisperer|transform):[a-z]{2,4}(-[a-z]{1,16}){1,3}-[0-9]{1,2}:[0-9]{12}:profile/[A-Za-z0-9]{12}",
    "arn:aws:codewhisperer:REGION:ACCOUNT:profile/ID",
    shown=False,
)


def read_providers(root: Section, home: str) -> tuple[Provider, ...]:
    """The rotation that the document's `providers` are, or the one account that is there without it.

    `home` is what `~` stands for; `""` is unknown, and it stays. Problems are added to the document's.
    """
    section = root.section("providers", _DEFAULT_PROVIDERS)
    if root.value("providers") == {}:
        root.refuse("providers", "expected at least one provider, got none")
    entries = [entry for name in section for entry in _read_provider(section, name, home)]
    section.close()
    ids: dict[str, str] = {}
    files: dict[str, str] = {}
    for path, provider in entries:
        if (first := ids.setdefault(provider.id, path)) != path:
            root.problems.append(Problem(path, f"is named {show(provider.id)} in the rotation, as {first} is"))
        file = plain_path(provider.token_file)
        if provider.token_file and (first := files.setdefault(file, path)) != path:
            problem = f"the same token file as that of {first}; one account is one provider"
            root.problems.append(Problem(f"{path}.tokenFilePath", problem))
    return tuple(provider for _, provider in entries)


def _read_provider(section: Section, original: str, home: str) -> list[tuple[str, Provider]]:
    """The entries of the rotation that a provider becomes, each with the path that it is from."""
    try:
        _read_provider_name(original)
    except ValueProblem as wrong:
        section.refuse(original, f"the name of a provider: {wrong}")
    entry = section.section(original)
    if not isinstance(section.value(original), dict):
        return []
    if "type" not in entry:
        entry.refuse("type", 'expected "codewhisperer", got none')
    entry.get("type", choice("codewhisperer"), None)
    endpoint = entry.get("endpoint", optional(_read_endpoint), None)
    given = [key for key in ("authentication", "accounts") if entry.value(key) is not None]
    if len(given) != 1:
        got = "both" if given else "neither"
        section.refuse(original, f"expected one of authentication (one account) and accounts (several), got {got}")
    several = entry.get("accounts", optional(array("accounts")), None) or []
    if entry.value("accounts") == []:
        entry.refuse("accounts", "expected at least one account, got none")
    accounts = [
        (f"{entry.path}.accounts[{index}]", item, f"{original}-account{index + 1}", index, len(several))
        for index, item in enumerate(several)
    ]
    if "authentication" in given:
        accounts.append((f"{entry.path}.authentication", entry.value("authentication"), original, 0, 1))
    entry.close()
    made = []
    for path, item, name, index, total in accounts:
        account = Section(path, item, section.problems)
        if isinstance(item, dict):
            token_file, profile_arn, refresh_url = _read_account(account, home)
            provider = Provider(
                id=name,
                token_file=token_file,
                profile_arn=profile_arn,
                endpoint=endpoint,
                refresh_url=refresh_url,
                original_provider_id=original,
                account_index=index,
                total_accounts=total,
            )
            made.append((path, provider))
    return made


def _read_account(account: Section, home: str) -> tuple[str, str | None, str | None]:
    """Its token file (`""` where it is wrong, so that it is like no other), its profile, and its refresh address."""
    read_file = read_path(home)
    default = "" if "tokenFilePath" in account else read_file(_DEFAULT_TOKEN_FILE)
    token_file = account.get("tokenFilePath", read_file, default)
    profile_arn = account.get("profileArn", optional(_read_profile_arn), None)
    refresh_url = account.get("refreshUrl", optional(_read_refresh_url), None)
    account.close()
    return token_file, profile_arn, refresh_url


def plain_path(path: str) -> str:
    """A path as it is compared with others: lexically, as far as that goes. Links are the file system's to know."""
    return posixpath.normpath(path).replace("//", "/")


def read_path(home: str) -> Callable[[object], str]:
    """A reader of paths, in which `~` stands for `home`."""

    def read(value: object) -> str:
        # Paths go into log lines as they are, so they keep to one line.
        if not isinstance(value, str) or not value or len(value) > 4096 or not value.isprintable():
            raise expected("a file's path of 1 to 4096 printable characters", value)
        if not value.startswith("~"):
            return value
        if not value.startswith(("~/", "~\\")):
            raise expected("a path whose ~ is followed by /: other users' folders are not looked up", value)
        return home.rstrip("/") + value[1:] if home else value

    return read


def _read_endpoint(value: object) -> str:
    origin, path = _read_url(value)
    if path not in ("", "/"):
        raise ValueProblem("expected an address without a path, got one with a path")
    return origin


def _read_refresh_url(value: object) -> str:
    return "".join(_read_url(value))


def _read_url(value: object) -> tuple[str, str]:
    if not isinstance(value, str):
        raise expected("an https address", value)
    return split_url(value)

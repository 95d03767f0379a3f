"""The configuration: a checked, typed value out of a decoded document, or all that is wrong with it at once.

Knows every section and key, their ranges and defaults; the README's reference says the same in prose. Reads no
file and no environment: both arrive as arguments. Never repeats a key, or an address that may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from core.addresses import AddressError, is_loopback, split_bind
from core.catalogue import Catalogue, Model
from core.codewhisperer import MODEL_ID
from core.document import (
    Problem,
    Section,
    ValueProblem,
    array,
    choice,
    expected,
    kind,
    optional,
    seconds,
    show,
    text,
    whole_number,
)
from core.errors import ShellError, StagewhisperError
from core.health import HealthPolicy
from core.phases import Policy
from core.providers import plain_path, read_path, read_providers
from core.selection import Provider

__all__ = [
    "Config",
    "ConfigError",
    "Problem",
    "RecordingSettings",
    "Server",
    "State",
    "is_loopback",
    "parse_bind",
    "parse_config",
]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens, to whom it answers, and how much at once. `drain` is in seconds.

    Without `api_keys` it answers everyone who reaches it, which `parse_config` accepts on a loopback host alone.
    `admin_key` is none of them; without one, `access.check_admin` says who may look and act. There are both of the
    files for TLS, or none of them.
    """

    host: str = "127.0.0.1"
    port: int = 8990
    api_keys: tuple[str, ...] = ()
    admin_key: str | None = None
    max_concurrent: int = 256
    max_queued: int = 256
    drain: float = 30.0
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    def __repr__(self) -> str:
        admin = "" if self.admin_key is None else " and an admin key"
        return f"Server({self.host!r}, {self.port}, with {len(self.api_keys)} keys{admin})"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where health, turns and figures are kept. `path` None is the platform's place; in memory there is none."""

    kind: Literal["file", "memory"] = "file"
    path: str | None = None


class RecordingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where exchanges are recorded, and how much of them is kept. `directory` None: none is."""

    directory: str | None = None
    max_files: int = 1000
    max_bytes: int = 10**9


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, with every default filled in. The time-outs here are in seconds.

    `connect_timeout` is the service's. Clients have `request_timeout` to send something of a request, and
    `send_timeout` to take something of what they are sent.
    """

    server: Server
    policy: Policy
    connect_timeout: float
    request_timeout: float
    send_timeout: float
    state: State
    recording: RecordingSettings
    health: HealthPolicy
    catalogue: Catalogue
    providers: tuple[Provider, ...]


class ConfigError(StagewhisperError):
    """The configuration cannot be used. `problems` is all of them, at least one; `source` is the file, or `""`."""

    def __init__(self, problems: Sequence[Problem], *, source: str = "") -> None:
        listed = "; ".join(map(str, problems))
        super().__init__(f"{source}: {listed}" if source else listed)
        self.problems = tuple(problems)
        self.source = source


def parse_bind(address: str, *, place: str = "--bind") -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host stands in brackets there, and comes without them. Port 0 is any.

    Raises:
        ConfigError: it is none; `place` is the problem's path.
    """
    try:
        return split_bind(address)
    except AddressError as wrong:
        raise ConfigError((Problem(place, str(wrong)),)) from None


_DAY = 86_400_000  # in milliseconds: patience beyond a day is a slip
_MONTH = 31 * _DAY  # no limit of the service lasts longer than to the first of the next month


def parse_config(
    document: object,
    *,
    environment: Mapping[str, str],
    shipped_models: object,
    home: str,
    bind: str | None = None,
) -> Config:
    """The configuration that a decoded JSON or TOML document is, with defaults for all that it leaves out.

    `environment` is looked into where the document says so; `home` is what `~` stands for (`""`: unknown, and it
    stays); `bind`, the command line's, replaces the document's before it is judged together with the keys.

    Raises:
        ConfigError: the document is wrong; lists every problem.
        ShellError: the shipped list of models is wrong.
    """
    problems: list[Problem] = []
    root = Section("", document, problems)
    server = _read_server(root.section("server"), environment, bind, home)
    timeouts = root.section("timeouts")
    connect_timeout = timeouts.get("connectMs", seconds(1, _DAY), 10.0)
    request_timeout = timeouts.get("requestMs", seconds(1, _DAY), 60.0)
    send_timeout = timeouts.get("sendMs", seconds(1, _DAY), 60.0)
    policy = _read_policy(root, timeouts, root.section("pings"))
    state = _read_state(root.section("state"), home)
    recording = _read_recording(root.section("recording"), home)
    health = _read_health(root.section("health"))
    catalogue = _read_catalogue(root.section("models"), shipped_models)
    providers = read_providers(root, home)
    _keep_apart(state, providers, problems)
    root.close()
    if problems:
        raise ConfigError(problems)
    return Config(
        server=server,
        policy=policy,
        connect_timeout=connect_timeout,
        request_timeout=request_timeout,
        send_timeout=send_timeout,
        state=state,
        recording=recording,
        health=health,
        catalogue=catalogue,
        providers=providers,
    )


def _read_policy(root: Section, timeouts: Section, pings: Section) -> Policy:
    delivery = root.get("delivery", choice("buffered", "live"), "buffered")
    written_calls = root.get("writtenToolCalls", choice("convert", "leave"), "convert")
    policy = Policy(
        first_byte=timeouts.get("firstByteMs", seconds(1, _DAY), 300.0),
        idle=timeouts.get("idleMs", seconds(1, _DAY), 300.0),
        total=timeouts.get("totalMs", seconds(1, _DAY), 1800.0),
        ping_quiet=pings.get("quietMs", seconds(0, _DAY), 10.0),
        ping_interval=pings.get("intervalMs", seconds(1, _DAY), 15.0),
        convert_written_calls=written_calls == "convert",
        delivery="live" if delivery == "live" else "buffered",
    )
    timeouts.close()
    pings.close()
    return policy


# --- what is recorded ------------------------------------------------------------------------------------------


def _read_recording(recording: Section, home: str) -> RecordingSettings:
    default = RecordingSettings()
    settings = RecordingSettings(
        directory=recording.get("directory", optional(read_path(home)), None),
        max_files=recording.get("maxFiles", whole_number(1, 10**9), default.max_files),
        max_bytes=recording.get("maxBytes", whole_number(1, 10**15), default.max_bytes),
    )
    recording.close()
    return settings


# --- the accounts' health, and where it is kept ----------------------------------------------------------------


def _read_state(state: Section, home: str) -> State:
    word = state.get("kind", choice("file", "memory"), "file")
    path = state.get("path", optional(read_path(home)), None)
    if word == "memory" and path is not None:
        state.refuse("path", f'expected none with kind "memory", which keeps nothing in a file; got {show(path)}')
    state.close()
    return State(kind="memory" if word == "memory" else "file", path=path)


def _keep_apart(state: State, providers: Sequence[Provider], problems: list[Problem]) -> None:
    """Refuses a token file as the state's file: taken for a damaged one, it would be moved out of the way."""
    if state.path is not None:
        file = plain_path(state.path)
        problems.extend(
            Problem("state.path", f"expected a file of its own, got the token file of {show(provider.id)}")
            for provider in providers
            if provider.token_file and plain_path(provider.token_file) == file
        )


def _read_health(health: Section) -> HealthPolicy:
    default = HealthPolicy()
    before = len(health.problems)
    policy = HealthPolicy(
        rate_limit_cooldown=health.get("rateLimitCooldownMs", seconds(1000, _MONTH), default.rate_limit_cooldown),
        backoff_base=health.get("backoffBaseMs", seconds(1000, _MONTH), default.backoff_base),
        backoff_cap=health.get("backoffCapMs", seconds(1000, _MONTH), default.backoff_cap),
    )
    if policy.backoff_cap < policy.backoff_base and len(health.problems) == before:
        base, cap = (f"{duration * 1000:.15g}" for duration in (policy.backoff_base, policy.backoff_cap))
        health.refuse("backoffCapMs", f"expected at least backoffBaseMs, which is {base}, got {cap}")
    health.close()
    return policy


# --- the server ------------------------------------------------------------------------------------------------


def _read_server(server: Section, environment: Mapping[str, str], bind: str | None, home: str) -> Server:
    default = Server()
    host, port = server.get("bind", _read_bind, (default.host, default.port))
    if bind is not None:
        try:
            host, port = split_bind(bind)
        except AddressError as wrong:
            server.problems.append(Problem("--bind", str(wrong)))
    before = len(server.problems)
    given: list[object] = server.get("apiKeys", array("keys"), [])
    api_keys = []
    for index, item in enumerate(given):
        try:
            api_keys.append(_read_key(item, environment))
        except ValueProblem as wrong:
            server.problems.append(Problem(f"{server.path}.apiKeys[{index}]", str(wrong)))
    if not is_loopback(host) and not api_keys and len(server.problems) == before:
        server.refuse("apiKeys", f"expected a key, because {show(host)} is not a loopback address; got none")
    admin_key = server.get("adminKey", optional(lambda item: _read_key(item, environment)), None)
    if admin_key is not None and admin_key in api_keys:
        server.refuse("adminKey", "expected a key that no client has, got one of apiKeys")
    max_concurrent = server.get("maxConcurrent", whole_number(1, 100_000), default.max_concurrent)
    max_queued = server.get("maxQueued", whole_number(0, 100_000), default.max_queued)
    drain = server.get("drainMs", seconds(0, _DAY), default.drain)
    tls_cert_file, tls_key_file = _read_tls(server, home)
    server.close()
    return Server(
        host=host,
        port=port,
        api_keys=tuple(api_keys),
        admin_key=admin_key,
        max_concurrent=max_concurrent,
        max_queued=max_queued,
        drain=drain,
        tls_cert_file=tls_cert_file,
        tls_key_file=tls_key_file,
    )


def _read_tls(server: Section, home: str) -> tuple[str | None, str | None]:
    """The files of the certificate and of its key."""
    before = len(server.problems)
    files = {key: server.get(key, optional(read_path(home)), None) for key in ("tlsCertFile", "tlsKeyFile")}
    if len(server.problems) == before:
        for key, other in (("tlsKeyFile", "tlsCertFile"), ("tlsCertFile", "tlsKeyFile")):
            if files[key] is None and files[other] is not None:
                server.refuse(key, f"expected a file, because {other} names one; got none")
    return files["tlsCertFile"], files["tlsKeyFile"]


def _read_bind(value: object) -> tuple[str, int]:
    if not isinstance(value, str):
        raise expected("HOST:PORT", value)
    return split_bind(value)


def _read_key(item: object, environment: Mapping[str, str]) -> str:
    """A key, given as it is or as the name of an environment variable. Its problems show no value."""
    if isinstance(item, str):
        key, got = item, "another text"
    elif isinstance(item, dict):
        name = item.get("env")
        # Someone may have put the key itself there: only what may be a variable's name is shown as one.
        if len(item) != 1 or not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
            raise ValueProblem('expected {"env": NAME} with the name of an environment variable, got another object')
        if name not in environment:
            raise ValueProblem(f"expected the environment variable {name} to hold a key, but it is not set")
        key, got = environment[name], f"another text in the environment variable {name}"
    else:
        raise ValueProblem(f'expected a key, or {{"env": NAME}}, got {kind(item)}')
    if not re.fullmatch(r"[!-~]{1,1024}", key):
        raise ValueProblem(f"expected a key of 1 to 1024 visible ASCII characters, got {got}")
    return key


# --- the models ------------------------------------------------------------------------------------------------

_read_model_id = text(MODEL_ID, "1 to 1024 letters, digits and _:.-, the service's id of a model")
_read_id_alone = text(MODEL_ID, "the service's id of a model, or an object with it")
_read_model_name = text(r"[!-~]{1,256}", "1 to 256 visible ASCII characters")


class _ShippedModel(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=rf"^{MODEL_ID}\Z")]
    display_name: str
    context_window: Annotated[int, msgspec.Meta(ge=1000)]
    created_at: str


def _read_display_name(value: object) -> str:
    # What is not printable has no place in a list; lone surrogates, which JSON can spell, not even in UTF-8.
    if not isinstance(value, str) or not 1 <= len(value) <= 256 or not value.isprintable():
        raise expected("1 to 256 printable characters", value)
    return value


def _read_catalogue(models: Section, shipped_models: object) -> Catalogue:
    """The shipped models, each as far as the document leaves it, then those that only the document has."""
    try:
        shipped = msgspec.convert(shipped_models, dict[str, _ShippedModel])
    except msgspec.ValidationError as error:
        raise ShellError(f"the shipped list of models is wrong: {error}") from None
    catalogue = {
        name: Model(
            name=name,
            id=model.id,
            context_window=model.context_window,
            display_name=model.display_name,
            created_at=model.created_at,
        )
        for name, model in shipped.items()
    }
    for name in models:
        catalogue[name] = _read_model(models, name, catalogue.get(name))
    models.close()
    return catalogue


def _read_model(models: Section, name: str, known: Model | None) -> Model:
    base = known or Model(name=name, id="", display_name=name)
    try:
        _read_model_name(name)
    except ValueProblem as wrong:
        models.refuse(name, f"the name of a model: {wrong}")
    value = models.value(name)
    if not isinstance(value, dict):
        return msgspec.structs.replace(base, id=models.get(name, _read_id_alone, base.id))
    entry = models.section(name)
    if "id" not in value and known is None:
        entry.refuse("id", "expected the service's id of the model, because no model of this name is known; got none")
    model = msgspec.structs.replace(
        base,
        id=entry.get("id", _read_model_id, base.id),
        context_window=entry.get("contextWindow", whole_number(1000, 10**9), base.context_window),
        display_name=entry.get("displayName", _read_display_name, base.display_name),
    )
    entry.close()
    return model

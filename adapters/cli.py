"""The command `stagewhisper`: arguments, exit codes, and nothing else.

Exit codes: 0 for success, 1 for what its user has to mend (said in plain lines, never a traceback), 2 for a
command line that is none; `replay` has 3 for what it cannot read.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from adapters import ambient
from core.config import Config, ConfigError


class Unusable(Exception):
    """Something that the user has to mend. The text has a line for each thing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit code."""
    options = _parser().parse_args(arguments)
    try:
        # Most commands have no other code for success than none.
        return options.run(options) or 0
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _print_nowhere()  # whoever read what was printed has had enough
        return 1
    except _OutputFailed as problem:
        _print_nowhere()
        print(problem, file=sys.stderr)
        return 1


class _OutputFailed(Exception):
    """What was to be printed could not be, as on a full disk."""


def _print_nowhere() -> None:
    """Let what is still to be flushed at the end go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stagewhisper", description="An Anthropic Messages API in front of a CodeWhisperer subscription."
    )
    parser.add_argument("--version", action="version", version=f"stagewhisper {ambient.VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="run the gateway", description="Run the gateway.")
    serve.set_defaults(run=_serve)
    _add_config(serve)
    _add_bind(serve, "listen there, instead of on the configuration's server.bind")
    _add_log(serve)
    _add_record(serve)

    check = commands.add_parser(
        "check",
        help="say what is wrong with the configuration",
        description="Check the configuration and the token files that it names.",
    )
    check.set_defaults(run=_check)
    _add_config(check)

    accounts = commands.add_parser(
        "accounts",
        help="show the accounts' health, recover or disable one",
        description="Show the accounts' health, or change that of one: through the gateway that runs, "
        "else on the state that the last one left.",
    )
    accounts.set_defaults(run=_accounts, parser=accounts)
    _add_config(accounts)
    accounts.add_argument("action", nargs="?", choices=("list", "recover", "disable", "enable"), default="list",
                          help="list them (the default), use one again, take one out of use, put it back")  # fmt: skip
    accounts.add_argument("id", nargs="?", metavar="ID", help="the account, as it is called in the list")
    accounts.add_argument("--url", metavar="URL", help="the gateway's base URL (default: the configuration's bind)")
    accounts.add_argument("--json", action="store_true", help="print JSON, as /admin/accounts gives it")

    _add_replay(commands)

    demo = commands.add_parser(
        "demo",
        help="run the gateway on an embedded emulator",
        description="Run the gateway on an embedded emulator of the service: no account, no configuration.",
    )
    demo.set_defaults(run=_demo)
    _add_bind(demo, "listen there (default: 127.0.0.1:8990)", default="127.0.0.1:8990")
    _add_log(demo, level="warning")
    _add_record(demo)

    emulate = commands.add_parser(
        "emulate",
        help="run an emulator of the service",
        description="Run an emulator of the service, with made-up accounts.",
    )
    emulate.set_defaults(run=_emulate)
    _add_bind(emulate, "listen there (default: 127.0.0.1:8991)", default="127.0.0.1:8991")
    emulate.add_argument(
        "--accounts", metavar="N", type=int, default=1,
        help="play so many accounts: team-account1 and so on, in the configuration one provider `team` "
        "(default: one, called emulated)",
    )  # fmt: skip
    emulate.add_argument("--scenario", metavar="NAME", help="answer every request like that (see --scenarios)")
    emulate.add_argument("--scenario-file", metavar="FILE", type=Path, help="read the scenarios from a JSON file")
    emulate.add_argument("--scenarios", action="store_true", help="list the scenarios and end")
    emulate.add_argument(
        "--replay", metavar="FOLDER", type=Path,
        help="answer as the service did in the recordings in a folder (or in a file): from one of the same "
        "conversation if there is one that was not used up, else from the next; after the last, from the first again",
    )  # fmt: skip
    emulate.add_argument("--no-waits", action="store_true", help="with --replay: do not take as long as it took then")
    emulate.add_argument(
        "--write-config", metavar="FOLDER", type=Path,
        help="write token files and a configuration for a gateway on this emulator into a folder",
    )  # fmt: skip
    return parser


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser(
        "replay",
        help="run captured answers through the core again",
        description="Run recordings, or captured answers of the service, through the core again, without a network, "
        "and print what they are. Exit code 0: well; 1: faulted, or different in other pieces; 3: cannot be read. "
        "Of a recording, 0: its client is sent the same as then, be it an answer or an error; 1: something else.",
    )
    replay.set_defaults(run=_replay)
    replay.add_argument("files", nargs="+", metavar="FILE", help="a recording, the body of an event stream, or a "
                        "raw HTTP/1.1 response; - is standard input")  # fmt: skip
    forms = ("frames", "events", "message", "sse")
    replay.add_argument("--as", dest="form", choices=forms, default="message", help="print that (default: message)")
    replay.add_argument("--json", action="store_true", help="print JSON, a value a line")
    replay.add_argument("--cuts", metavar="N", type=_count, default=0, help="also run N other chunkings, and say the "
                        "first difference")  # fmt: skip
    replay.add_argument("--seed", metavar="S", type=int, default=0, help="which chunkings (default: 0)")
    replay.add_argument("--bytewise", action="store_true", help="also run it in single bytes")
    replay.add_argument("--model", metavar="NAME", default="replayed", help="the model that the message names")
    replay.add_argument("--tool", metavar="NAME", action="append", default=[], dest="tools", help="a tool of the "
                        "request, to look for in calls that were written out as text (may be repeated)")  # fmt: skip


def _count(text: str) -> int:
    """A number that is not negative; of one that no run comes to the end of, the beginning is as good."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text[:40]!r}")
    return int(text[:9])


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="the configuration (default: $STAGEWHISPER_CONFIG, "
                        "else the file in the platform's folder for configurations, else none)")  # fmt: skip


def _add_bind(parser: argparse.ArgumentParser, text: str, default: str | None = None) -> None:
    parser.add_argument("--bind", metavar="HOST:PORT", help=text, default=default)


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", metavar="FOLDER", help="record each exchange into a file there")


def _add_log(parser: argparse.ArgumentParser, level: str = "info") -> None:
    levels = ("info", "warning", "error")
    parser.add_argument("--log-level", choices=levels, default=level, help=f"log from there on (default: {level})")
    forms = ("console", "json")
    parser.add_argument("--log-format", choices=forms, default="console", help="for a person (the default), or JSON")


# --- the commands ----------------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> None:
    from adapters import logs
    from adapters.gateway import Gateway, explain_state, record_into, warn_of
    from adapters.recorder import RecorderError
    from adapters.serve import serve
    from adapters.stores import StoreError

    logs.configure(options.log_level, options.log_format)
    config = _load(options.config, bind=options.bind)
    if (record := _record_folder(options)) is not None:
        config = record_into(config, record)
    warn_of(_check_token_files(config))
    has_tls = _check_certificate(config)
    listener, url = _listen(config.server.host, config.server.port, tls=has_tls, send_timeout=config.send_timeout)

    async def run() -> None:
        gateway = Gateway(config)
        await gateway.open()
        await serve(gateway, listener, announce=lambda: _say(f"listening on {url}"))

    try:
        trio.run(run)
    except StoreError as problem:
        listener.close()
        raise Unusable(explain_state(problem)) from None
    except RecorderError as problem:
        listener.close()
        raise Unusable(str(problem)) from None


def _check(options: argparse.Namespace) -> None:
    from adapters.configfile import find_config
    from adapters.gateway import check_recordings, describe_accounts
    from adapters.recorder import RecorderError

    config = _load(options.config)
    if problems := _check_token_files(config):
        raise Unusable("\n".join(problems))
    _check_certificate(config)
    try:
        recordings = check_recordings(config)
    except RecorderError as problem:
        raise Unusable(f"recording.directory: {problem}") from None
    file = Path(options.config) if options.config else find_config(os.environ)
    _say(f"configuration: {file or 'none, so the defaults'}; {len(config.catalogue)} models; accounts, in turn:")
    for line in describe_accounts(config):
        _say(f"  {line}")
    if recordings:
        _say(recordings)


def _accounts(options: argparse.Namespace) -> None:
    from adapters.manage import Unmanageable, manage, render_json, render_table

    action = None if options.action == "list" else options.action
    if (action is None) != (options.id is None):
        options.parser.error("list takes no account" if action is None else f"{action} needs the account's ID")
    config = _load(options.config)
    try:
        accounts, note = trio.run(partial(manage, config, action, options.id or "", url=options.url))
    except Unmanageable as problem:
        raise Unusable(str(problem)) from None
    if note:
        print(note, file=sys.stderr)
    _say(render_json(accounts, single=action is not None) if options.json else render_table(accounts))


def _replay(options: argparse.Namespace) -> int:
    from adapters.display import fit
    from adapters.printing import Wish
    from adapters.replay import replay

    def say(text: str) -> None:
        _say(fit(text, sys.stdout.encoding))

    wish = Wish(
        form=options.form,
        json=options.json,
        cuts=options.cuts,
        seed=options.seed,
        bytewise=options.bytewise,
        model=options.model,
        tool_names=tuple(options.tools),
    )
    return replay(options.files, wish, say=say, complain=partial(print, file=sys.stderr))


def _demo(options: argparse.Namespace) -> None:
    from adapters import logs
    from adapters.demo import run_demo
    from adapters.recorder import RecorderError

    logs.configure(options.log_level, options.log_format)
    record = _record_folder(options)
    listener, _ = _listen_here(options.bind)
    try:
        trio.run(run_demo, listener, _say, record)
    except RecorderError as problem:
        listener.close()
        raise Unusable(str(problem)) from None


def _emulate(options: argparse.Namespace) -> None:
    from adapters import logs
    from adapters.demo import open_recordings, run_emulator, write_config
    from adapters.emulator import (
        MOST_ACCOUNTS,
        Recordings,
        ScenarioFile,
        ScenarioSource,
        UnknownScenario,
        Unservable,
        always,
        check,
        describe,
        team_accounts,
    )

    if options.scenarios:
        _say("\n".join(f"{name:24} {text}" for name, text in describe().items()))
        return
    logs.configure("info", "console")
    scenario: ScenarioSource | ScenarioFile | None = None
    recordings: Recordings | None = None
    if not 1 <= options.accounts <= MOST_ACCOUNTS:
        raise Unusable(f"--accounts: expected 1 to {MOST_ACCOUNTS}, got {options.accounts}")
    accounts = team_accounts(options.accounts) if options.accounts > 1 else ()
    sources = {"--scenario": options.scenario, "--scenario-file": options.scenario_file, "--replay": options.replay}
    given = [name for name, value in sources.items() if value]
    if len(given) > 1:
        raise Unusable(f"{given[0]} and {given[1]} exclude each other")
    if options.no_waits and not options.replay:
        raise Unusable("--no-waits is for --replay, which is not given")
    try:
        if options.scenario:
            check(options.scenario)
            scenario = always(options.scenario)
        if options.scenario_file:
            scenario = ScenarioFile(options.scenario_file)
            scenario.refresh_scenario("", 0)  # reads the file, which is read again for each request
        if options.replay:
            recordings = open_recordings(options.replay, waits=not options.no_waits)
    except (UnknownScenario, Unservable) as problem:
        raise Unusable(str(problem)) from None
    listener, url = _listen_here(options.bind)
    if options.write_config:
        try:
            _say(f"wrote {write_config(options.write_config, url, accounts)}")
        except OSError as error:
            listener.close()
            raise Unusable(f"{options.write_config} cannot be written: {error.strerror}") from None
    announce = partial(_say, f"emulating on {url}")
    trio.run(partial(run_emulator, listener, announce, scenario=scenario, recordings=recordings, accounts=accounts))


# --- what they share -------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    """Print for the user, at once: others wait for these lines."""
    try:
        sys.stdout.write(f"{text}\n")  # in one piece: whoever reads may be gone by the second
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _OutputFailed(f"nothing can be printed: {error.strerror}") from None


def _load(path: str | None, *, bind: str | None = None) -> Config:
    from adapters.configfile import load_config

    try:
        return load_config(path, os.environ, bind=bind)
    except ConfigError as error:
        source = f"{error.source}: " if error.source else ""
        raise Unusable("\n".join(f"{source}{problem}" for problem in error.problems)) from None


def _check_token_files(config: Config) -> list[str]:
    """What is wrong with token files that a gateway can do without."""
    from adapters.gateway import check_token_files

    grave, light = check_token_files(config)
    if grave:
        raise Unusable("\n".join([*grave, *light]))
    return light


def _record_folder(options: argparse.Namespace) -> str | None:
    """The folder for recordings that the command line names, as the configuration would take it."""
    from core.document import ValueProblem
    from core.providers import read_path

    try:
        return None if options.record is None else read_path(os.path.expanduser("~"))(options.record)
    except ValueProblem as wrong:
        raise Unusable(f"--record: {wrong}") from None


def _check_certificate(config: Config) -> bool:
    """Whether there is TLS. Where there is, its files can be used."""
    from adapters.certificates import CertificateUnusable, check_certificate

    if config.server.tls_cert_file is None or config.server.tls_key_file is None:
        return False
    try:
        check_certificate(config.server.tls_cert_file, config.server.tls_key_file)
    except CertificateUnusable as problem:
        raise Unusable(str(problem)) from None
    return True


def _listen(host: str, port: int, *, tls: bool = False, **options: float) -> tuple[socket.socket, str]:
    """A listening socket and its URL."""
    from adapters.serve import CannotListen, listen, url_of

    try:
        listener = listen(host, port, **options)
    except CannotListen as problem:
        raise Unusable(str(problem)) from None
    return listener, url_of(listener, tls=tls)


def _listen_here(bind: str) -> tuple[socket.socket, str]:
    """The same for what has made-up accounts and no keys, and so is for this machine alone."""
    from core.addresses import AddressError, is_loopback, split_bind

    try:
        host, port = split_bind(bind)
    except AddressError as problem:
        raise Unusable(f"--bind: {problem}") from None
    if not is_loopback(host):
        raise Unusable(f"--bind: {host} can be reached from other machines; this is for this machine alone")
    return _listen(host, port)


if __name__ == "__main__":
    sys.exit(main())

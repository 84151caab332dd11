"""Chaos for WebSocket clients and servers."""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from . import __version__
from .conformance.commands import cases, check, explain, profile, report

if TYPE_CHECKING:
    from random import Random

    from .reference.server import ReferenceServer
    from .reference.tokens import Tokens

T = TypeVar("T")
PORT = 8765
MOST_HOURS = 24 * 366
MOST_CLIENTS = 10_000
LEVELS = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 where it could not be done (soak: 1, something was broken).

    130: Ctrl-C. What takes time to import is imported in here, so that Ctrl-C at the start is no traceback either.
    """
    try:
        words, command = _split(sys.argv[1:] if arguments is None else arguments)
        parser = _parser()
        options = parser.parse_args(words)
        options.words = command
        if command and options.command != "check":
            parser.error("only 'check' takes a command after --")
        if hasattr(options, "run"):
            return int(options.run(options))
        return {"rules": _rules, "soak": _soak, "reference-server": _reference_server, "serve": _serve_engine}[
            options.command
        ](options)
    except KeyboardInterrupt:
        return 130


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first ``--``, and what after it."""
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wschaos", description=__doc__)
    parser.add_argument("--version", action="version", version=f"pytest-wschaos {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    server = commands.add_parser(
        "reference-server",
        help="run the reference server",
        description="Runs the reference server (wschaos.v1 at /ws, an echo at /echo, health at /healthz) until "
        "SIGTERM or SIGINT, then drains it; a second signal ends it at once.",
        epilog="What no option says is taken from the environment, where it is not empty: WSCHAOS_PORT, "
        'WSCHAOS_PROFILE, WSCHAOS_TOKENS (a JSON file {"good": [...], "expired": [...], "revoked": [...]} that is read '
        "at each use) or WSCHAOS_TOKEN, and WSCHAOS_ORIGINS (the origins that are allowed, with commas between).",
    )
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    server.add_argument("--port", type=_port, help=f"port; 0: a free one (default: WSCHAOS_PORT, or {PORT})")
    server.add_argument(
        "--profile",
        help="a preset (default, rfc6455, websockets), or a .toml or .json file (default: WSCHAOS_PROFILE)",
    )
    server.add_argument(
        "--token",
        action="append",
        type=_token,
        default=[],
        metavar="TOKEN",
        help="a token to accept; may be repeated (default: those of WSCHAOS_TOKENS, or WSCHAOS_TOKEN, or one that is "
        "made and printed)",
    )
    server.add_argument("--log-level", default="info", choices=LEVELS)
    engine = commands.add_parser(
        "serve",
        help="run the embedded engine as a Toxiproxy",
        description="Runs the embedded engine with Toxiproxy's HTTP API until SIGTERM or SIGINT.",
    )
    engine.add_argument("--host", default="127.0.0.1", help="address of the API (default: %(default)s)")
    engine.add_argument("--port", type=_port, default=8474, help="its port; 0: a free one (default: %(default)s)")
    engine.add_argument("--config", metavar="FILE", help="a JSON array of proxies that are there from the start")
    engine.add_argument("--seed", type=_whole, help="where all randomness comes from (default: a new one each time)")
    engine.add_argument("--log-level", default="warning", choices=LEVELS, help="debug tells of every request")
    listing = commands.add_parser("rules", help="list the rules, one sentence each")
    listing.add_argument("patterns", nargs="*", metavar="RULE", help="ids or globs (default: all)")
    for module in (check, report, cases, explain, profile):
        module.add_to(commands)
    soak = commands.add_parser(
        "soak",
        help="run the reference pair for virtual hours under random faults",
        description="Runs reference clients and server on virtual time, through storms of random faults and calms, and "
        "checks throughout that every rule holds. Exit status 1: something was broken, and is shown with the command "
        "that repeats it. Ctrl-C ends it with the summary so far.",
    )
    soak.add_argument("--hours", type=_hours, default=1.0, help="virtual hours, at least (default: %(default)g)")
    soak.add_argument("--clients", type=_clients, default=10, help="how many (default: %(default)s)")
    soak.add_argument("--seed", type=_whole, help="where all randomness comes from (default: a new one each time)")
    soak.add_argument("--profile", help="a preset (default, rfc6455, websockets), or a .toml or .json file")
    soak.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a port, 0 to 65535")
    return int(text)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number") from None


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of hours above 0, {MOST_HOURS} at most")
    return hours


def _clients(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_CLIENTS:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of clients, 1 to {MOST_CLIENTS}")
    return int(text)


def _token(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty: whoever presents none would be let in")
    return text


def _origins(text: str) -> list[str]:
    origins = [origin.strip() for origin in text.split(",")]
    for origin in origins:
        # They are compared letter by letter: one with a path, or without a scheme, would never be allowed.
        if not re.fullmatch(r"null|[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise ValueError(f"{origin!r}: must be origins such as https://app.example:8443, with commas between")
    return origins


def _variable(name: str, read: Callable[[str], T]) -> T | None:
    """What a variable of the environment says; None where it is not set, or empty.

    Raises:
        ValueError: it is no good; the message names it.
    """
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return read(text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise ValueError(f"{name}: {error}") from None


def _rules(options: argparse.Namespace) -> int:
    from .checks.rule import UnknownRule, rules, select

    try:
        chosen = [rules()[rule] for rule in select(*options.patterns)]
    except UnknownRule as error:
        print(f"wschaos rules: {error}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        for rule in chosen:
            _say(f"{rule.id:<13} {rule.level:<6} {rule.side:<6} {rule.requirement}")
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _soak(options: argparse.Namespace) -> int:
    from .profile import ProfileError
    from .simulation.soak import Settings, soak

    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    settings = Settings(options.hours, options.clients, seed, options.profile)
    try:
        summary = soak(settings, None if options.quiet else sys.stderr)
    except ProfileError as error:
        print(f"wschaos soak: {error}", file=sys.stderr)  # noqa: T201
        return 2
    if summary.violation is not None:
        _say(summary.violation + "\n")
    _say("\n".join([*summary.lines(), *summary.figures()]))
    if summary.violation is not None:
        return 1
    return 130 if summary.interrupted else 0


def _serve_engine(options: argparse.Namespace) -> int:
    import asyncio

    from .engine.relay import new_loop
    from .serve import CannotServe, Settings, serve

    _log_from(options.log_level)
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(serve(Settings(options.host, options.port, options.config, seed), _say))
    except CannotServe as error:
        print(f"wschaos serve: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _log_from(level: str) -> None:
    import logging

    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _reference_server(options: argparse.Namespace) -> int:
    import asyncio

    _log_from(options.log_level)
    try:
        server, token = _new_reference_server(options)
    except ValueError as error:
        return _cannot_serve(str(error))
    try:
        asyncio.run(_serve(server, token))
    except OSError as error:
        hint = " (--port 0 finds a free one)" if error.errno == errno.EADDRINUSE else ""
        return _cannot_serve(f"{error.strerror or error}{hint}")
    return 0


def _cannot_serve(why: str) -> int:
    print(f"wschaos reference-server: {why}", file=sys.stderr)  # noqa: T201
    return 2


def _new_reference_server(options: argparse.Namespace) -> tuple[ReferenceServer, str | None]:
    """The server that was asked for, and the token that was made because none was named.

    Raises:
        ValueError: an option or a variable is no good; the message says which.
    """
    from random import SystemRandom

    from .harness import load_profile
    from .profile import Profile
    from .reference.server import ReferenceServer

    port = _variable("WSCHAOS_PORT", _port) if options.port is None else options.port
    if options.profile:
        profile = load_profile(options.profile)
    else:
        profile = _variable("WSCHAOS_PROFILE", load_profile) or Profile()
    if origins := _variable("WSCHAOS_ORIGINS", _origins):
        profile = profile.with_(security={"origins": origins})
    rng = SystemRandom()  # session ids and tokens must not be guessed
    tokens, made = _tokens(options.token, rng)
    server = ReferenceServer(
        host=options.host,
        port=PORT if port is None else port,
        profile=profile,
        tokens=tokens,
        seed=rng.getrandbits(128),
    )
    return server, made


def _tokens(named: list[str], rng: Random) -> tuple[Tokens, str | None]:
    from .reference.tokens import TokenFile, Tokens

    if named:
        return Tokens(rng, named), None
    given = _variable("WSCHAOS_TOKENS", lambda path: TokenFile(rng, path)) or _variable(
        "WSCHAOS_TOKEN", lambda token: Tokens(rng, [token])
    )
    if given is not None:
        return given, None
    tokens = Tokens(rng)
    return tokens, tokens.issue()


async def _serve(server: ReferenceServer, token: str | None) -> None:
    import asyncio

    from .signals import on_signal

    await server.start()
    stop = asyncio.Event()
    on_signal(stop.set)
    _say(f"listening on {server.url}" + (f", token {token}" if token else ""))
    grace: float | None = None
    try:
        await stop.wait()
        draining = asyncio.get_running_loop().create_task(server.drain())
        on_signal(draining.cancel)
        _say("draining; a second signal ends it at once")
        await asyncio.wait([draining])
        if draining.cancelled():
            grace = 0
        else:
            draining.result()
    finally:
        await server.stop(grace)
    _say("stopped")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201

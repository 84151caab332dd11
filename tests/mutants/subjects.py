"""Mutants as subjects: in this process, and by name in one of their own (``mutants.subjects:NAME``)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_wschaos import ReferenceClient
from pytest_wschaos.conformance.subjects import speak
from pytest_wschaos.conformance.subjects.command import Command
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.conformance.subjects.server import InProcessServer, Server
from pytest_wschaos.conformance.subjects.subject import Subject

from .registry import Mutant, mutants

Factory = Callable[..., ReferenceClient]
TESTS = Path(__file__).parent.parent


def factory(kind: type[ReferenceClient]) -> Factory:
    """Clients of a kind, which can all that the reference can."""

    def make(url: str, **options: Any) -> ReferenceClient:
        client = kind(url, **options)
        client.start()
        return client

    make.hello = reference.hello  # type: ignore[attr-defined]
    return make


def here(mutant: Mutant) -> Subject | Server:
    """A mutant in this process, on virtual time too."""
    if issubclass(mutant.kind, ReferenceClient):
        return InProcess(factory(mutant.kind), mutant.name)
    return InProcessServer(mutant.kind)


def alone(mutant: Mutant, folder: Path) -> Command:
    """A client in a process of its own, which leaves its files in a folder."""
    start = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from {speak.__name__} import main; main()"
    return Command([sys.executable, "-c", start, f"{__name__}:{mutant.name}"], folder)


def __getattr__(name: str) -> Factory:
    if name not in mutants():
        raise AttributeError(name)
    kind = mutants()[name].kind
    assert issubclass(kind, ReferenceClient)
    return factory(kind)

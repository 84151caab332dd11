"""What makes two runs alike: the sources of disorder that a process has, and a hold on each.

Measured on prototypes (see docs/virtual-time.md): ``random``, ``os.urandom`` (and with it ``secrets`` and ``uuid4``),
generators that are made without a seed, ``time.time`` and ``time.monotonic``, the hash of tasks and that of protocols.
The last two order the sets that asyncio and servers keep. Out of reach, because C code asks the system itself:
``datetime.now()``, ``uuid1()`` and what OpenSSL draws.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from .errors import SimulationError

EPOCH = 1_700_000_000.0
"""What ``time.time()`` says at the beginning of a run."""

_entered = threading.RLock()
"""Held by the thread whose run has taken over what belongs to the whole process."""


class Determinism:
    """While it is entered, chance comes from a seed and the time of day from the loop's clock.

    It may be entered many times one after the other; each time goes on where the last one ended.
    """

    def __init__(self, seed: int, clock: Callable[[], float]) -> None:
        self._state = random.Random(f"random/{seed}").getstate()
        self._bytes = random.Random(f"urandom/{seed}").randbytes
        self._clock = clock
        self._saved: list[tuple[Any, str, Any]] = []
        self._outside: Any = None

    def __enter__(self) -> None:
        """Take over.

        Raises:
            SimulationError: another thread has done so.
        """
        if not _entered.acquire(blocking=False):
            raise SimulationError(
                "a virtual clock runs in another thread: chance and the time of day belong to the whole process, so "
                "that only one can run at a time"
            )
        self._outside = random.getstate()
        random.setstate(self._state)
        self._put(os, "urandom", self._bytes)
        self._put(random, "_urandom", self._bytes)  # what SystemRandom, and so secrets, reads
        own_seed, some = random.Random.seed, self._bytes

        def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            own_seed(generator, int.from_bytes(some(32)) if a is None else a, version)

        self._put(random.Random, "seed", seed)  # a generator without a seed asks the system, past os.urandom
        self._put(random, "seed", functools.partial(seed, random._inst))
        self._put(time, "monotonic", self._clock)  # by which clients measure how long something took
        self._put(time, "monotonic_ns", lambda: round(self._clock() * 1e9))
        self._put(time, "time", lambda: EPOCH + self._clock())
        self._put(time, "time_ns", lambda: round((EPOCH + self._clock()) * 1e9))

    def __exit__(self, *_: object) -> None:
        while self._saved:
            setattr(*self._saved.pop())
        self._state = random.getstate()
        random.setstate(self._outside)
        _entered.release()

    def _put(self, module: Any, name: str, value: object) -> None:
        self._saved.append((module, name, getattr(module, name)))
        setattr(module, name, value)


class CountedTask(asyncio.Task[Any]):
    """A task whose hash is the number in which its loop made it, and not its place in memory."""

    def __init__(self, coro: Any, *, loop: Any, **options: Any) -> None:
        self._number: int = loop.next_number()
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


_COUNTED = "_wschaos_counted"
"""The attribute of a class under which its subclass is kept, for as long as there is the class; None: it has none."""


def counted(protocol: Any, number: int) -> Any:
    """Give a new protocol a hash by number, so that a set of them has the same order in every run.

    Its class becomes a subclass of the same name. Left as it is, is one that has a hash of its own, or lets itself not
    be changed, or whose hash is in use: a class that puts itself into a set or a dictionary in its ``__init__``.
    """
    kind = type(protocol)
    own: Any = kind.__hash__
    if own is not object.__hash__ or not hasattr(protocol, "__dict__"):
        return protocol
    try:
        if _COUNTED not in vars(kind):
            setattr(kind, _COUNTED, None)  # first: a class that refuses this refuses all else
            setattr(kind, _COUNTED, None if _enrols(protocol) else _subclass(kind))
        if (subclass := vars(kind)[_COUNTED]) is None:
            return protocol
        protocol.__class__ = subclass
    except TypeError:  # the class of an extension
        return protocol
    protocol.__dict__["_wschaos_number"] = number
    return protocol


def _subclass(kind: type) -> type | None:
    """One of the same layout, so that an instance may change its class; None: the class wants none like that."""
    meta: Any = type(kind)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    try:
        made: type = meta(kind.__name__, (kind,), {**names, "__slots__": (), "__hash__": _by_number})
    except Exception:  # its metaclass, or its __init_subclass__, asks for more
        return None
    return made


_enrolling: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _enrols(protocol: Any) -> bool:
    """Whether a class's ``__init__`` puts the instance where its hash counts; looked for once for each such function.

    Classes are often made anew for each server, and the search takes milliseconds.
    """
    begin = type(protocol).__init__
    if not inspect.isfunction(begin):  # there is none of its own
        return False
    if begin not in _enrolling:
        _enrolling[begin] = _in_use(protocol)
    return _enrolling[begin]


def _in_use(protocol: Any) -> bool:
    """Whether a set or a dictionary knows a protocol, or a weak reference to it, by its hash.

    They are looked through without asking for a hash, as a weak reference would keep it.
    """
    return any(
        any(key is known for key in list(holder))
        for known in (protocol, *weakref.getweakrefs(protocol))
        for holder in gc.get_referrers(known)
        if isinstance(holder, set | frozenset | dict)
    )


def _by_number(protocol: Any) -> int:
    number: int = protocol.__dict__["_wschaos_number"]
    return number

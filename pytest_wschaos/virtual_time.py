"""pytest on virtual time: which loop a test runs on, and what is asked of it there. Light, as plugin.py is.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from .settings import CLOCK, clock_of, clocks_of, seed_of, time_limit_of, wrong

if TYPE_CHECKING:
    import asyncio

_current: pytest.StashKey[pytest.Item] = pytest.StashKey()
_runner: pytest.StashKey[asyncio.Runner] = pytest.StashKey()
HOOK = "pytest_asyncio_loop_factories"
OUR_HOOK = "wschaos-loop-factories"


def prepare(metafunc: pytest.Metafunc) -> None:
    """Make one test for each clock, and have pytest-asyncio ask us for the loop of a test on virtual time.

    pytest-asyncio treats all tests otherwise as soon as anybody answers this hook, so we do so only once a test
    wants it.
    """
    config, clocks = metafunc.config, _clocks_if_any(metafunc.definition)
    if len(clocks) > 1:
        metafunc.fixturenames.append(CLOCK)
        metafunc.parametrize(CLOCK, clocks)
    if clocks == ["real"] or config.pluginmanager.has_plugin(OUR_HOOK):
        return
    if not config.pluginmanager.has_plugin("asyncio"):
        return  # tests run on loops of our own
    if not hasattr(config.hook, HOOK) or not hasattr(pytest, "HIDDEN_PARAM"):
        wrong("virtual time under pytest-asyncio needs pytest-asyncio 1.4 and pytest 8.4, or newer ones")
    config.pluginmanager.register(_LoopFactories(config), OUR_HOOK)


def _clocks_if_any(node: pytest.Item) -> list[str]:
    """The clocks that a test asks for; one that cannot be is told when it is set up."""
    try:
        return clocks_of(node)
    except pytest.fail.Exception:
        return ["real"]


class _LoopFactories:
    """Answers pytest-asyncio, for our own tests only."""

    def __init__(self, config: pytest.Config) -> None:
        self._real: Callable[[], Any] | None = None

        def make() -> Any:
            import asyncio

            item = config.stash[_current]
            return (self._real or asyncio.new_event_loop)() if clock_of(item) == "real" else _make_loop(item)

        # One for all: tests that share a loop must have the same.
        self._make = make

    @pytest.hookimpl(wrapper=True)
    def pytest_asyncio_loop_factories(
        self, config: pytest.Config, item: pytest.Item
    ) -> Generator[None, Mapping[str, Callable[[], Any]] | None, Mapping[str, Callable[[], Any]]]:
        others = yield
        if _clocks_if_any(item) != ["real"]:
            self._real = next(iter(others.values())) if others else None
            return {"wschaos": self._make}
        if others is not None:
            return others
        import asyncio

        return {"default": asyncio.new_event_loop}


def _make_loop(item: pytest.Item) -> Any:
    from .simulation.clock import TIME_LIMIT
    from .simulation.run import make_loop

    limit = time_limit_of(item)
    return make_loop(clock_of(item), seed=seed_of(item), time_limit=TIME_LIMIT if limit is None else limit)


def _is_coroutine(item: pytest.Item) -> bool:
    return inspect.iscoroutinefunction(getattr(item, "obj", None))


def _by_pytest_asyncio(item: pytest.Item) -> bool:
    return item.config.pluginmanager.has_plugin("asyncio") and item.get_closest_marker("asyncio") is not None


def set_up(item: pytest.Item) -> None:
    """Say at once what cannot run on virtual time."""
    item.config.stash[_current] = item
    clock = clock_of(item)
    if clock == "real":
        return
    function = getattr(item, "obj", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    if inspect.iscoroutinefunction(inner):
        wrong(
            f"clock={clock!r}: an async def with @given runs all its examples on one loop, each beside what is left of "
            "the others: write a plain def, and in it run(main) (from pytest_wschaos.simulation.run import run)"
        )
    if type(item).__name__ == "TestCaseFunction":
        wrong(f"clock={clock!r}: unittest makes its own loops: write the test as a function or a plain class")
    if not _is_coroutine(item):
        wrong(f"clock={clock!r}: a plain def blocks, which takes real time: make it an async def, or use clock='real'")
    if not _by_pytest_asyncio(item) and item.get_closest_marker("anyio") is not None:
        wrong(
            f"clock={clock!r}: anyio makes its own loops: mark the test asyncio, or leave out the mark; without our "
            "fixtures, anyio_backend may be ('asyncio', {'loop_factory': pytest_wschaos.simulation.run.make_loop})"
        )
    beside = not _by_pytest_asyncio(item) and item.config.pluginmanager.has_plugin("asyncio")
    if beside and (others := _async_fixtures(item)):
        wrong(
            f"clock={clock!r}: its fixture {others[0]!r} is asynchronous, and pytest-asyncio would run "
            "it on another loop: mark the test @pytest.mark.asyncio"
        )


def _async_fixtures(item: Any) -> list[str]:
    asynchronous = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    known = item._fixtureinfo.name2fixturedefs.items()
    return [name for name, defs in known if any(kind(defs[-1].func) for kind in asynchronous)]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test on a virtual loop where nobody else runs coroutines."""
    if clocks_of(pyfuncitem) == ["real"]:
        return None
    if _by_pytest_asyncio(pyfuncitem):
        _pytest_asyncios_loop(pyfuncitem._request)  # whether it is what was asked for
        return None
    if clock_of(pyfuncitem) == "real":
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    _own_runner(pyfuncitem).run(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """The loop goes last."""
    try:
        yield
    finally:
        if _runner in item.stash:
            item.stash[_runner].close()
            del item.stash[_runner]


def _own_runner(item: pytest.Item) -> asyncio.Runner:
    if _runner not in item.stash:
        import asyncio

        item.stash[_runner] = asyncio.Runner(loop_factory=lambda: _make_loop(item))
    return item.stash[_runner]


def loop_of(request: pytest.FixtureRequest) -> Any:
    """The virtual loop of a test; None: it runs in real time."""
    item = request.node
    if clock_of(item) == "real":
        return None
    if not _by_pytest_asyncio(item):
        return _own_runner(item).get_loop()
    return _pytest_asyncios_loop(request)


def _pytest_asyncios_loop(request: pytest.FixtureRequest) -> Any:
    item = request.node
    scope = getattr(item, "_loop_scope", "function")
    # Asked for here, its runner is there before our fixture, and still there when ours is torn down.
    loop = request.getfixturevalue(f"_{scope}_scoped_runner").get_loop()
    clock, seed = clock_of(item), seed_of(item)
    other = getattr(loop, "clock_name", "real"), getattr(loop, "seed", seed)
    if other == (clock, seed):
        return loop
    if scope != "function":
        wrong(
            f"clock={clock!r}, seed={seed}: it shares a loop with a test of clock={other[0]!r}, seed={other[1]}: "
            "leave out loop_scope (a loop of its own for each test), or give all of them the same"
        )
    return wrong(
        f"clock={clock!r}: the test has a loop of another kind (is there a loop_factories in its asyncio "
        "mark? a mark of ours on a parameter? That belongs on the test, clock='real,virtual' makes one for each)"
    )

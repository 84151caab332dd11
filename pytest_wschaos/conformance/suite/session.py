"""The plugin of the sessions of pytest that ``wschaos check`` starts.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

import pytest

from ...profile import Profile
from .case import Case
from .face import planned
from .plan import Plan
from .player import Player
from .result import Result
from .trial import Trial

OPTION = "--wschaos-plan"
_plan: pytest.StashKey[Plan] = pytest.StashKey()
_trial: pytest.StashKey[Trial] = pytest.StashKey()
_results: pytest.StashKey[Result] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plan travels as an option, to the workers of pytest-xdist too."""
    parser.addoption(OPTION, dest="wschaos_plan", help="of 'wschaos check': what is to be done")


def pytest_configure(config: pytest.Config) -> None:
    """Read the plan."""
    config.stash[_plan] = Plan.from_json(config.getoption("wschaos_plan"))


def plan_of(config: pytest.Config) -> Plan:
    """What is to be done in a session."""
    return config.stash[_plan]


def trial_of(config: pytest.Config) -> Trial:
    """The subject of a session before the suite; one for all of its tests."""
    if _trial not in config.stash:
        front = _front(config)
        config.stash[_trial] = plan_of(config).trial(**({"finished": front.finished} if front else {}))
    return config.stash[_trial]


def _front(config: pytest.Config) -> Front | None:
    """The half that people see; a worker of pytest-xdist has none."""
    return next((plugin for plugin in config.pluginmanager.get_plugins() if isinstance(plugin, Front)), None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to play what the tests will ask for."""
    if not session.config.option.collectonly:
        trial, cases = trial_of(session.config), planned(session)
        front = _front(session.config)
        if front is not None:
            front.planned(cases, trial.player)
        trial.ahead(cases)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what is still being played."""
    if _trial in session.config.stash:
        session.config.stash[_trial].stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the result with the report; its duration is that of the case, not of the wait for it."""
    case = item.callspec.params["case"] if hasattr(item, "callspec") else None
    result = trial_of(item.config).player.done(case) if case is not None and call.when == "call" else None
    if result is not None:
        item.user_properties += [("verdict", str(result.outcome)), ("close", str(result.closing))]
    report = yield
    if result is not None:
        report.duration = result.duration
        report.wschaos = result  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: Any) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """A result goes from a worker of pytest-xdist as plain data."""
    result = report.__dict__.pop("wschaos", None)
    told = yield
    if result is not None and told is not None:
        told["wschaos_result"] = _plain(result.to_dict())
    return told


@pytest.hookimpl(wrapper=True)
def pytest_report_from_serializable(data: dict[str, Any]) -> Generator[None, Any, Any]:
    """And is a result again where it arrives."""
    told = data.pop("wschaos_result", None)
    report = yield
    if told is not None:
        report.wschaos = Result.from_dict(told, Profile())
    return report


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    import json

    plain: dict[str, Any] = json.loads(json.dumps(told, default=repr))
    return plain


class Front:
    """The half of a session that people see, in the process of ``wschaos check``.

    Args:
        progress: is told of each result as soon as there is one.
        planned: is told before what will be played, and by which player.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Callable[[Result], object],
        planned: Callable[[list[Case], Player | None], object],
    ) -> None:
        self._plan = plan
        self.results: dict[str, Result] = {}
        self.errors: list[str] = []
        """What pytest said of what is no verdict: an error in collection, say."""
        self._progress = progress
        self.planned = planned

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """What pytest itself would tell is told by us."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            config.pluginmanager.unregister(reporter)
        if config.pluginmanager.has_plugin("dsession"):
            self.planned(self._plan.chosen, None)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """The suite itself may be broken."""
        if report.failed:
            self.errors.append(report.longreprtext)

    def finished(self, result: Result) -> None:
        """A case has been played."""
        if result.case.id not in self.results:
            self.results[result.case.id] = result
            self._progress(result)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has ended; where a worker ran it, this is the first that is heard of its result."""
        result = getattr(report, "wschaos", None)
        if result is not None:
            self.finished(result)
        elif report.failed:
            self.errors.append(report.longreprtext)


def without(names: tuple[str, ...], **instead: str) -> Callable[[], None]:
    """Change the environment: some variables are not there, others are; returns what puts it back."""
    before = {name: os.environ.get(name) for name in (*names, *instead)}
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(instead)

    def back() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    return back

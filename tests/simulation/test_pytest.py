"""Virtual time under pytest: which tests run on it, beside what, and what is said of those that cannot."""

from __future__ import annotations

import re
import shlex

import pytest

pytest_plugins = ["pytester"]

BASE = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"

CLIENT = """
    import asyncio
    import time
    import pytest
    from websockets.asyncio.client import connect

    async def an_hour(wschaos):
        begun = time.monotonic()
        loop = asyncio.get_running_loop()
        client = wschaos.client()
        await wschaos.wait_for("ready")
        with wschaos.silent_drop():
            await wschaos.wait_for("attempt")
        await wschaos.wait_for("ready")
        await asyncio.sleep(3600)
        assert loop.time() > 3600
        wschaos.assert_rules("RECONNECT-01", "HEARTBEAT-02")
        await client.aclose()
"""


LOOP_OF_OTHERS = """
    import asyncio

    class Mine(asyncio.SelectorEventLoop):
        pass

    def pytest_asyncio_loop_factories(config, item):
        return {"mine": Mine}
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".ini", pytest=BASE)
    return pytester


@pytest.mark.parametrize("clock", ["virtual", "hybrid"])
def test_marked_tests_run_on_virtual_time_beside_others(project: pytest.Pytester, clock: str) -> None:
    project.makepyfile(
        CLIENT
        + f"""
    @pytest.mark.asyncio
    @pytest.mark.wschaos(clock="{clock}")
    async def test_virtual(wschaos):
        await an_hour(wschaos)

    @pytest.mark.asyncio
    async def test_real(wschaos):
        assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")
        async with connect(wschaos.echo_url) as client:
            await client.send("hello")
            assert await client.recv() == "hello"

    def test_plain(wschaos):
        with wschaos.client():
            wschaos.wait("ready")
"""
    )
    project.runpytest_inprocess().assert_outcomes(passed=3)


@pytest.mark.parametrize("arguments", [("--asyncio-mode=auto",), ("-p", "no:asyncio"), ()])
def test_without_the_asyncio_mark(project: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    if "no:asyncio" in arguments:
        project.makefile(".ini", pytest="[pytest]\n")
    project.makepyfile(
        CLIENT
        + """
    @pytest.mark.wschaos(clock="virtual")
    async def test_virtual(wschaos):
        await an_hour(wschaos)

    @pytest.mark.wschaos(clock="virtual")
    async def test_without_a_fixture_of_ours(tmp_path):
        await asyncio.sleep(3600)
        assert asyncio.get_running_loop().time() == 3600
        assert tmp_path.is_dir()
"""
    )
    project.runpytest_inprocess(*arguments).assert_outcomes(passed=2)


def test_the_option_and_the_ini_value_hold_for_tests_that_use_our_fixtures(project: pytest.Pytester) -> None:
    project.makepyfile(
        CLIENT
        + """
    @pytest.mark.asyncio
    async def test_ours(wschaos):
        await an_hour(wschaos)

    @pytest.mark.asyncio
    async def test_other():
        assert not hasattr(asyncio.get_running_loop(), "virtual")

    @pytest.mark.wschaos(clock="real")
    def test_plain(wschaos): pass
"""
    )
    project.runpytest_inprocess("--wschaos-clock=virtual").assert_outcomes(passed=3)
    project.makefile(".ini", pytest=BASE + "wschaos_clock = hybrid\n")
    project.runpytest_inprocess().assert_outcomes(passed=3)


def test_fixtures_of_pytest_asyncio_share_the_loop(project: pytest.Pytester) -> None:
    project.makepyfile(
        CLIENT
        + """
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def client(wschaos):
        async with wschaos.client() as client:
            yield client

    @pytest.mark.asyncio
    @pytest.mark.wschaos(clock="virtual")
    async def test_fixture(client, wschaos):
        await wschaos.wait_for("ready")
        await client.send("news", "hello")
        assert wschaos.server.received[0].data == "hello"

    @pytest.mark.asyncio(loop_scope="module")
    @pytest.mark.wschaos(clock="virtual")
    async def test_module_loop(wschaos):
        await asyncio.sleep(100)

    @pytest.mark.asyncio(loop_scope="module")
    @pytest.mark.wschaos(clock="virtual")
    async def test_same_loop(wschaos):
        assert asyncio.get_running_loop().time() >= 100
        client = wschaos.client()
        await wschaos.wait_for("ready")
"""
    )
    project.runpytest_inprocess().assert_outcomes(passed=3)


def test_loop_factories_of_others_are_left_alone(project: pytest.Pytester) -> None:
    project.makeconftest(LOOP_OF_OTHERS)
    project.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        async def test_virtual():
            await asyncio.sleep(3600)

        @pytest.mark.asyncio
        async def test_mine():
            assert type(asyncio.get_running_loop()).__name__ == "Mine"
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_beside_anyio(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest
        from pytest_wschaos.simulation.run import make_loop

        @pytest.mark.anyio
        async def test_real():
            assert not hasattr(asyncio.get_running_loop(), "virtual")

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": make_loop})])
        async def test_by_anyio(anyio_backend):
            await asyncio.sleep(3600)

        @pytest.mark.anyio
        @pytest.mark.wschaos(clock="virtual")
        async def test_refused():
            pass

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        async def test_virtual():
            await asyncio.sleep(3600)

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=3, errors=1)
    assert "anyio makes its own loops" in result.stdout.str()


# --- what cannot be ---


def test_what_cannot_run_says_so_and_names_the_clock_that_can(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import threading
        import pytest
        from hypothesis import given, strategies as st

        virtual = pytest.mark.wschaos(clock="virtual")

        @virtual
        def test_plain(wschaos): pass

        @virtual
        @pytest.mark.asyncio
        @given(st.integers())
        async def test_given(number): pass

        @pytest.mark.wschaos(clock="fast")
        @pytest.mark.asyncio
        async def test_clock(wschaos): pass

        @pytest.mark.wschaos(clock="virtual", time_limit="long")
        @pytest.mark.asyncio
        async def test_limit(wschaos): pass

        @virtual
        @pytest.mark.asyncio
        async def test_blocks(wschaos):
            wschaos.wait("ready")

        @virtual
        @pytest.mark.asyncio
        async def test_process(wschaos):
            await asyncio.create_subprocess_exec("true")
        """
    )
    result = project.runpytest_inprocess("--wschaos-seed=1")
    result.assert_outcomes(errors=4, failed=2)
    output = result.stdout.str()
    for told in (
        "a plain def blocks, which takes real time: make it an async def, or use clock='real'",
        "an async def with @given runs all its examples on one loop",
        "marker wschaos(clock) = 'fast': must be real, virtual, hybrid",
        "marker wschaos(time_limit) = 'long': must be a number of virtual seconds above 0",
        "a blocking call on virtual time would wait for itself: await wait_for() instead",
        "subprocess_exec() starts another process",
    ):
        assert told in output, told


def test_a_failed_test_takes_no_other_with_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest

        pytestmark = [pytest.mark.asyncio, pytest.mark.wschaos(clock="virtual", time_limit=1000)]

        async def test_deadlock(wschaos):
            await asyncio.get_running_loop().create_future()

        async def test_after_it(wschaos):
            await wschaos.client().aclose()

        async def test_livelock(wschaos):
            while True:
                await asyncio.sleep(0)

        async def test_after_that(wschaos):
            await wschaos.client().aclose()

        async def test_no_end(wschaos):
            while True:
                await asyncio.sleep(10)

        async def test_last(wschaos):
            await wschaos.client().aclose()
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=3, passed=3)
    output = result.stdout.str()
    assert "Deadlock: at 0.000 s nothing is ready and no timer is set" in output
    assert "Livelock: " in output
    assert "TimeLimit: 1000 s of virtual time have passed" in output
    assert output.count("test_a_failed_test_takes_no_other_with_it.py:") >= 3  # the line where each waits
    assert "base_events.py" not in output  # no traceback through asyncio


# --- seeds ---


def test_a_sweep_runs_each_chaos_test_with_several_seeds(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        @pytest.mark.parametrize("name", ["a", "b"])
        async def test_seed(wschaos, name):
            assert wschaos.seed != 8

        def test_other(): pass
        """
    )
    result = project.runpytest_inprocess("--wschaos-seed=7", "--wschaos-seeds=3")
    result.assert_outcomes(passed=5, failed=2)
    again = re.findall(r"again: (.*)", result.stdout.str())
    assert len(again) == 2
    assert all(command.endswith("--wschaos-seed=8") and "seed=8]" not in command for command in again)


def test_a_sweep_on_several_workers_has_one_first_seed(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        async def test_it(wschaos): pass
        """
    )
    project.runpytest_subprocess("-n", "2", "--wschaos-seeds=3").assert_outcomes(passed=3)


def test_what_differs_between_two_runs_is_named(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import time
        import pytest

        pytestmark = [pytest.mark.asyncio, pytest.mark.wschaos(clock="virtual")]

        async def test_alike(wschaos):
            client = wschaos.client()
            await wschaos.wait_for("ready")
            with wschaos.refuse():
                await wschaos.wait_for("attempt", 3)

        async def test_different(wschaos):
            wschaos.report({"event": "one"})
            wschaos.report({"event": "two", "number": time.perf_counter_ns()})

        async def test_fails(wschaos):
            assert 0
        """
    )
    result = project.runpytest_inprocess("--wschaos-check-determinism")
    result.assert_outcomes(passed=1, failed=2)
    output = result.stdout.str()
    assert "not deterministic: with the same seed, event 2 differs between two runs" in output
    assert "first:  {" in output
    assert "second: {" in output


# --- faults must bite ---


def test_a_fault_that_met_nothing_fails_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        def test_toothless(wschaos):
            with wschaos.latency(0.1):
                pass

        def test_on_purpose(wschaos):
            with wschaos.latency(0.1, must_bite=False), wschaos.idle_timeout(60):
                pass

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        async def test_with_some_seeds(wschaos):
            client = wschaos.client()
            await wschaos.wait_for("ready")
            if wschaos.seed % 2:
                await client.aclose()
            wschaos.abort()
        """
    )
    result = project.runpytest_inprocess("-k", "not seeds")
    result.assert_outcomes(passed=1, failed=1, deselected=1)
    output = result.stdout.str()
    assert "the fault did not bite: nothing met it" in output
    assert "latency(direction='both', seconds=0.1, jitter=0.0) from" in output
    assert "what happened:" in output
    project.runpytest_inprocess("-k", "seeds", "--wschaos-seed=1").assert_outcomes(failed=1, deselected=2)
    project.runpytest_inprocess("-k", "seeds", "--wschaos-seed=1", "--wschaos-seeds=2").assert_outcomes(
        passed=2, deselected=4
    )


def test_several_clocks_make_one_test_each(project: pytest.Pytester) -> None:
    project.makepyfile(
        CLIENT
        + """
    @pytest.mark.asyncio
    @pytest.mark.wschaos(clock="virtual, hybrid")
    async def test_ours(wschaos):
        await an_hour(wschaos)

    @pytest.mark.asyncio
    @pytest.mark.wschaos(clock="real,virtual")
    async def test_without_a_fixture_of_ours(request):
        virtual = getattr(asyncio.get_running_loop(), "virtual", False)
        assert virtual == ("virtual" in request.node.name)

    @pytest.mark.asyncio
    async def test_other(wschaos): pass
"""
    )
    result = project.runpytest_inprocess("-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*::test_ours[[]virtual[]] PASSED*", "*::test_ours[[]hybrid[]] PASSED*"])
    project.runpytest_inprocess("-k", "test_other", "--wschaos-clock=real,virtual").assert_outcomes(passed=2)


def test_a_clock_on_a_parameter_is_refused(project: pytest.Pytester) -> None:
    project.makepyfile("""
    import pytest

    @pytest.mark.asyncio
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.wschaos(clock="virtual"))])
    async def test_x(x): pass
""")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*clock='virtual': the test has a loop of another kind*clock='real,virtual'*"])


def test_a_loop_is_shared_by_tests_of_one_clock_and_seed_only(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio(loop_scope="module")
        @pytest.mark.wschaos(clock="virtual,real")
        async def test_clocks(): pass

        @pytest.mark.asyncio(loop_scope="module")
        @pytest.mark.wschaos(clock="virtual", seed=5)
        async def test_seed(wschaos): pass
        """
    )
    result = project.runpytest_inprocess("--wschaos-seed=1")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*clock='real', seed=1: it shares a loop with a test of clock='virtual', seed=1: leave out loop_scope*"]
    )
    result.stdout.fnmatch_lines(["*clock='virtual', seed=5: it shares a loop with a test of clock='virtual', seed=1*"])


def test_on_the_real_clock_of_several_the_loop_is_that_of_others(project: pytest.Pytester) -> None:
    project.makeconftest(LOOP_OF_OTHERS)
    project.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual, real")
        async def test_it(request):
            mine = type(asyncio.get_running_loop()).__name__ == "Mine"
            assert mine == request.node.name.endswith("[real]")
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_what_else_would_run_on_another_loop_is_refused(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import unittest
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def other(): yield

        @pytest.mark.wschaos(clock="virtual")
        async def test_without_the_mark(other): pass

        @pytest.mark.wschaos(clock="virtual")
        class TestCase(unittest.IsolatedAsyncioTestCase):
            async def test_it(self): pass
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*its fixture 'other' is asynchronous*: mark the test @pytest.mark.asyncio*"])
    result.stdout.fnmatch_lines(["*unittest makes its own loops*"])


def test_what_a_clock_cannot_says_where_it_was_asked_for(project: pytest.Pytester) -> None:
    path = project.makepyfile(
        """
        import asyncio
        import pytest

        def helper():
            asyncio.get_running_loop().add_reader(0, print)

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        async def test_it():
            helper()
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["Unsupported: add_reader() needs a descriptor*", f"at {path}:5"])


TOOTHLESS = """
    import pytest

    @pytest.mark.asyncio
    @pytest.mark.wschaos(clock="virtual, hybrid")
    @pytest.mark.parametrize("p", ["a-b"])
    async def test_it(wschaos, p):
        with wschaos.latency(0.1):
            pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_fault_that_bites_with_no_seed_fails_each_sweep_wherever_it_runs(
    project: pytest.Pytester, workers: str
) -> None:
    project.makepyfile(TOOTHLESS)
    result = project.runpytest_subprocess("-n", workers, "--wschaos-seeds=3", "--wschaos-seed=4")
    result.assert_outcomes(passed=4, failed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.stdout.str().count("the fault did not bite") >= 2


def test_seeds_that_were_not_chosen_are_not_waited_for(project: pytest.Pytester) -> None:
    project.makepyfile(test_x=TOOTHLESS)
    id = "test_x.py::test_it[virtual-seed=5-a-b]"
    project.runpytest_inprocess(id, "--wschaos-seeds=3", "--wschaos-seed=4").assert_outcomes(failed=1)


def test_a_sweep_is_repeated_by_the_printed_command(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        import pytest

        pytestmark = pytest.mark.asyncio

        @pytest.mark.wschaos(clock="virtual", seed=7)
        async def test_marked(wschaos):
            assert wschaos.seed != 9

        @pytest.mark.wschaos(clock="virtual, hybrid")
        @pytest.mark.parametrize("p", ["a-b"])
        async def test_asked(wschaos, p):
            assert wschaos.seed != 5
        """
    )
    result = project.runpytest_inprocess("--wschaos-seeds=3", "--wschaos-seed=4")
    result.assert_outcomes(passed=6, failed=3)
    again = re.findall(r"again: pytest (.*)", result.stdout.str())
    assert len(again) == 3
    for command in again:
        project.runpytest_inprocess(*shlex.split(command)).assert_outcomes(failed=1)


def test_a_rerun_begins_anew(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                item._initrequest()
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            return True
        """
    )
    project.makepyfile(
        """
        import pytest

        runs = []

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        async def test_it(wschaos):
            runs.append(1)
            with wschaos.refuse():
                if len(runs) > 1:
                    wschaos.client()
                    await wschaos.wait_for("attempt")
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_check_of_determinism_survives_tests_that_do_not(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        runs = []
        pytestmark = pytest.mark.asyncio

        @pytest.mark.wschaos(clock="virtul")
        async def test_wrong(wschaos): pass

        @pytest.mark.wschaos(clock="virtual")
        async def test_fails_the_second_time(wschaos_proxy, wschaos):
            runs.append(1)
            assert len(runs) == 1

        @pytest.mark.wschaos(clock="virtual")
        async def test_makes_another_number(wschaos, wschaos_proxy):
            runs.append(1)
            if len(runs) % 2:
                wschaos_proxy(wschaos.url)
        """
    )
    result = project.runpytest_inprocess("--wschaos-check-determinism")
    result.assert_outcomes(errors=1, failed=2)
    result.stdout.fnmatch_lines(["*not deterministic: it made * proxies in the first run and * in the second*"])

"""What a project gets that has the package installed: types, names, and nothing imported that it did not ask for."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module, metadata
from importlib.resources import files
from pathlib import Path

import pytest

import pytest_wschaos

HEAVY = {"asyncio", "ssl", "websockets", "requests", "docker", "toxiproxy", "hypothesis", "http", "unittest", "tomllib"}


@pytest.mark.parametrize("name", pytest_wschaos.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(pytest_wschaos, name) is not None
    assert name in dir(pytest_wschaos)
    home = pytest_wschaos._HOMES.get(name)
    if home is not None:
        module = import_module(f"pytest_wschaos.{home}")
        assert getattr(module, name) is getattr(pytest_wschaos, name)
        assert getattr(pytest_wschaos, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pytest_wschaos' has no attribute 'Chaoz'"):
        pytest_wschaos.Chaoz  # noqa: B018


def test_types_are_shipped_and_the_version_is_the_distributions() -> None:
    assert files("pytest_wschaos").joinpath("py.typed").is_file()
    assert metadata.version("pytest-wschaos") == pytest_wschaos.__version__


def test_the_types_of_the_lazy_names_are_declared() -> None:
    source = Path(pytest_wschaos.__file__).read_text(encoding="utf-8")
    for name, home in pytest_wschaos._HOMES.items():
        assert f"    from .{home} import {name} as {name}\n" in source


def modules_after(code: str, folder: Path) -> set[str]:
    """Names of the modules that a fresh interpreter has after some code."""
    code += "\nimport sys, json; print('MODULES ' + json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.rpartition("MODULES ")[2]))


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    loaded = modules_after("import pytest_wschaos", tmp_path)
    assert not loaded & HEAVY
    assert {name for name in loaded if name.startswith("pytest_wschaos")} == {"pytest_wschaos"}


def test_chaos_makes_no_certificates_until_it_is_asked_for_one(tmp_path: Path) -> None:
    code = "from pytest_wschaos import Chaos\nwith Chaos() as chaos: chaos.url"
    assert not modules_after(code, tmp_path) & {"trustme", "cryptography"}
    assert {"trustme"} <= modules_after(code.replace("url", "wss_url"), tmp_path)


@pytest.mark.parametrize(
    ("engine", "needs"),
    [
        ("embedded", set()),
        ("process", {"pytest_wschaos.engines.process"}),
        ("http://127.0.0.1:9", {"toxiproxy", "requests"}),
        ("docker", {"toxiproxy", "requests", "docker"}),
    ],
)
def test_chaos_imports_what_its_engine_needs(tmp_path: Path, engine: str, needs: set[str]) -> None:
    code = (
        "import os; os.environ['DOCKER_HOST'] = 'tcp://127.0.0.1:9'\n"
        "from pytest_wschaos import Chaos\n"
        f"try:\n    with Chaos(engine={engine!r}): pass\nexcept RuntimeError: pass"  # what is named is not there
    )
    all = {"pytest_wschaos.engines.process", "toxiproxy", "requests", "docker"}
    assert modules_after(code, tmp_path) & all == needs


def test_a_project_that_does_not_use_the_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_nothing():\n    assert True\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    # Only pytest itself and this plugin: what others import must not hide what this one does.
    collect = "import pytest; pytest.main(['-q', '-p', 'no:cacheprovider', {}])"
    env = "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"
    without = modules_after(env + collect.format(""), tmp_path)
    loaded = modules_after(env + collect.format("'-p', 'pytest_wschaos.plugin'"), tmp_path)
    assert "pytest_wschaos.plugin" in loaded
    cost = {name for name in loaded - without if not name.startswith("pytest_wschaos")}
    assert not cost & HEAVY
    light = {"plugin", "settings", "virtual_time"}
    assert {name for name in loaded if name.startswith("pytest_wschaos.")} == {f"pytest_wschaos.{one}" for one in light}


def test_neither_does_one_that_is_found_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_nothing():\n    assert True\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    collect = (
        "import pytest; pytest.main(['-q', '--collect-only', '-p', 'no:cacheprovider', '-p', 'no:asyncio', "
        "'-p', 'no:anyio', '-p', 'no:hypothesispytest', {}])"
    )
    without = modules_after(collect.format("'-p', 'no:wschaos'"), tmp_path)
    loaded = modules_after(collect.format(""), tmp_path)
    assert "pytest_wschaos.plugin" in loaded
    assert not {name.partition(".")[0] for name in loaded - without} & HEAVY

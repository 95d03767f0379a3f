"""The rules of the house that no linter knows: what core may say, who imports which library, what lies where."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "core").rglob("*.py"))
ADAPTERS = sorted((ROOT / "adapters").rglob("*.py"))
FUZZ = sorted((ROOT / "fuzz").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_FILE = 450

IMPURE = {
    "asyncio", "httpx", "hypercorn", "io", "logging", "os", "pathlib", "quart", "quart_trio", "random", "secrets",
    "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "trio", "uuid",
}  # fmt: skip

DOORS = {
    "httpx": {"adapters/upstream.py"},
    "quart": {"adapters/admin.py", "adapters/app.py", "adapters/connection.py"},
    "quart_trio": {"adapters/admin.py", "adapters/app.py", "adapters/connection.py", "adapters/gateway.py"},
    "werkzeug": {"adapters/app.py"},
    "hypercorn": {"adapters/serve.py", "adapters/connection.py", "adapters/http1.py"},
    "h11": {"adapters/emulator/connection.py", "core/rawhttp.py"},
    "platformdirs": {"adapters/configfile.py"},
    "prometheus_client": {"adapters/metrics.py"},
    "sqlite3": {"adapters/database.py"},
    "structlog": {"adapters/logs.py"},
    "argparse": {"adapters/cli.py"},
    "signal": {"adapters/serve.py", "adapters/demo.py"},
    "time": {"adapters/ambient.py"},
    "random": {"adapters/ambient.py"},
    "uuid": {"adapters/ambient.py"},
}
"""The only modules that import a library: what it is called and what it raises goes no further."""

TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md", "adapters", "constraints.txt", "core", "fuzz",
    "pyproject.toml", "tests",
}  # fmt: skip


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[str]:
    """Each module that a file imports, dotted."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)} imports relatively"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _roots(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in _imports(path)}


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_core_imports_nothing_impure(path: Path) -> None:
    assert not _roots(path) & IMPURE
    assert "adapters" not in _roots(path)


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_core_neither_waits_nor_reads_nor_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(
            node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await | ast.Global | ast.Nonlocal
        ):
            pytest.fail(f"{_name(path)}:{node.lineno}: {type(node).__name__}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "eval", "exec"}, f"{_name(path)}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            # `datetime.now` and its like read a clock without an import that gives them away.
            assert node.attr not in {"now", "utcnow", "today"}, f"{_name(path)}:{node.lineno}"


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    assert {_name(path) for path in [*ADAPTERS, *CORE] if library in _roots(path)} == DOORS[library]


@pytest.mark.parametrize("path", [path for path in ADAPTERS if path.parent.name == "emulator"], ids=_name)
def test_the_emulator_shares_nothing_with_what_it_tries(path: Path) -> None:
    assert not [module for module in _imports(path) if module.startswith("core")]
    assert not [module for module in _imports(path) if module.startswith("adapters") and "emulator" not in module]


@pytest.mark.parametrize("path", FUZZ, ids=_name)
def test_fuzzing_needs_no_shell(path: Path) -> None:
    assert "adapters" not in _roots(path)


@pytest.mark.parametrize("path", [*CORE, *ADAPTERS, *FUZZ, *TESTS], ids=_name)
def test_a_file_says_what_it_is_and_is_short_enough_to_read(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)) or path.name == "__init__.py"
    assert len(text.splitlines()) <= LONGEST_FILE


WORDS_ALONE = {"__init__", "dialogue", "phases"}
"""Modules of core in which nothing is done: the exchange's tests speak their words."""


@pytest.mark.parametrize("path", [path for path in CORE if path.stem not in WORDS_ALONE], ids=_name)
def test_every_core_module_has_its_tests(path: Path) -> None:
    assert list((ROOT / "tests" / "core").glob(f"test_{path.stem}*.py"))


def test_the_top_level_is_as_agreed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not in a git checkout, so what lies here may be anybody's")
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} == TOP_LEVEL

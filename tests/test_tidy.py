"""The rules that keep the house (ARCHITECTURE.md), checked on the source text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "satmachine"
SOURCES = sorted(PACKAGE.rglob("*.py"))

#: A module whose docstring says "Pure" is: no I/O, no clock, no chance, and imports only from others that are.
SAYS_PURE = re.compile(r"\bPure\b")
IMPURE_IMPORTS = {"aiosqlite", "anyio", "asyncio", "httpx", "logging", "os", "pathlib", "random", "secrets", "select"}
IMPURE_IMPORTS |= {"shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time"}
IMPURE_IMPORTS |= {"rich", "typer", "websockets"}
IMPURE_CALLS = {"input", "open", "print"}
CLOCKS = (".now", ".today", ".utcnow", ".monotonic")
#: The configuration's frozen values. Only `Secret.resolve` reads anything, and no pure module calls it.
VALUES = {"config/model.py", "config/secrets.py"}

#: The only places that may catch everything: the daemon, and two stages that outlive any single event or wallet.
CATCHES_ALL = {"guards.py", "recorder.py", "settlements/sweep/sweeper.py"}

#: SQL stays in the store: neither its words nor a call that runs them are anywhere else.
SQL = re.compile(r"^\s*(SELECT|WITH \w+ AS|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|PRAGMA|BEGIN|SAVEPOINT)\b")
RUNS_SQL = {"execute", "executemany", "executescript"}


#: The lists of a noun of the command line: the same job each time. Every other module has a name of its own.
NAMED_ALIKE = {"lists.py"}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


#: satmachine.nostr.event -> nostr/event.py; satmachine.config -> config/__init__.py
MODULES = {
    f"satmachine.{name(path).removesuffix('.py').replace('/', '.')}".removesuffix(".__init__"): name(path)
    for path in SOURCES
}
PURE = {name(path) for path in SOURCES if SAYS_PURE.search(ast.get_docstring(ast.parse(path.read_text())) or "")}


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported: of `from satmachine import money` it is satmachine.money."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & MODULES.keys() or {node.module}


@pytest.mark.parametrize("path", [PACKAGE / module for module in sorted(PURE)], ids=name)
def test_a_module_that_says_it_is_pure_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for module in imports(tree):
        if module.startswith("satmachine"):
            assert MODULES.get(module) in PURE | VALUES, f"{name(path)} imports {module}, which does not say it is pure"
        else:
            assert module.split(".")[0] not in IMPURE_IMPORTS, f"{name(path)} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in IMPURE_CALLS, f"{name(path)}:{node.lineno} calls {called}"
            assert not called.endswith(CLOCKS), f"{name(path)}:{node.lineno} asks a clock: {called}"
            assert not called.endswith(".resolve"), f"{name(path)}:{node.lineno} reads a secret"


def test_the_rules_about_money_are_pure() -> None:
    """Not by chance: if one of these stops saying so, this fails and not silence."""
    assert {"identity.py", "marks.py", "money.py", "models/__init__.py", "orders.py", "nostr/event.py"} <= PURE
    assert {
        "settlements/pay/adoption.py",
        "settlements/claim/content.py",
        "settlements/plan/amounts.py",
        "settlements/prove/verdict.py",
        "settlements/pay/transition.py",
    } <= PURE


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_the_daemon_catches_everything(path: Path) -> None:
    if name(path) in CATCHES_ALL:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        reraises = any(isinstance(child, ast.Raise) and child.exc is None for child in ast.walk(node))
        broad = caught in ("everything", "Exception", "BaseException")
        assert not broad or reraises, f"{name(path)}:{node.lineno} catches {caught}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sql_lives_in_the_store(path: Path) -> None:
    if name(path).startswith("store/"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not SQL.match(node.value), f"{name(path)}:{node.lineno} holds SQL"
        if isinstance(node, ast.Attribute):
            assert node.attr not in RUNS_SQL, f"{name(path)}:{node.lineno} runs SQL"


@pytest.mark.parametrize(
    "module",
    [
        "money.py",
        "models/__init__.py",
        "settlements/plan/planning.py",
        *sorted(m for m in PURE if m.startswith(("settlements/", "cash/"))),
    ],
)
def test_no_binary_float_near_money(module: str) -> None:
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), f"{module}: a float literal"
        assert not (isinstance(node, ast.Name) and node.id == "float"), f"{module} uses float"
        assert not isinstance(node, ast.Div), f"{module} divides with /"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name(path)} has no docstring"


def test_every_module_has_a_name_of_its_own() -> None:
    """ARCHITECTURE.md, "Words": `.._rows`, `.._command` and `.._page` say which of a subject's modules this is."""
    modules: dict[str, list[str]] = {}
    for path in SOURCES:
        modules.setdefault(path.name, []).append(name(path))
    twice = {key: found for key, found in modules.items() if len(found) > 1 and not key.startswith("__")}
    assert {key: found for key, found in twice.items() if key not in NAMED_ALIKE} == {}
    assert all(one.startswith("cli/") for key in NAMED_ALIKE for one in twice[key])


def test_every_public_class_has_a_name_of_its_own() -> None:
    classes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(name(path))
    assert {key: found for key, found in classes.items() if len(found) > 1} == {}

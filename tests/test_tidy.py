"""The rules that keep the house (ARCHITECTURE.md), checked on the source text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "satmachine"
SOURCES = sorted(PACKAGE.rglob("*.py"))

#: Pure modules: no I/O, and imports only from one another (and what is named here).
PURE = {
    "identity.py",
    "marks.py",
    "money.py",
    "models.py",
    "errors.py",
    "nesting.py",
    "orders.py",
    "nostr/event.py",
    "nostr/messages.py",
    "nostr/nip44.py",
    "nostr/keys.py",
    "clients/statement.py",
    "ops/findings.py",
    "ops/alerts/gift.py",
    "ops/alerts/judge.py",
    "ops/alerts/message.py",
    "reports/chart.py",
    "reports/export.py",
    "reports/facts.py",
    "reports/html.py",
    "reports/ledger.py",
    "reports/letters.py",
    "reports/signed.py",
    "reports/statement.py",
    "reports/summary.py",
    "settlements/adoption.py",
    "settlements/guards.py",
    "settlements/parse.py",
    "settlements/plan.py",
    "settlements/reconciling.py",
    "settlements/prove.py",
    "settlements/transition.py",
    "wallet/bolt11.py",
    "wallet/rows.py",
}
IMPURE_IMPORTS = {"aiosqlite", "anyio", "asyncio", "httpx", "os", "pathlib", "random", "socket", "sqlite3", "time"}
IMPURE_IMPORTS |= {"subprocess", "typer", "rich", "websockets"}

#: The only places that may catch everything: the daemon, and two stages that outlive any single event or wallet.
CATCHES_ALL = {"daemon.py", "recorder.py", "settlements/sweeper.py"}

#: SQL stays in the store.
SQL_WORDS = ("SELECT ", "INSERT INTO", "UPDATE dca_", "DELETE FROM")


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", [PACKAGE / module for module in sorted(PURE)], ids=name)
def test_pure_modules_stay_pure(path: Path) -> None:
    for module in imports(ast.parse(path.read_text())):
        assert module.split(".")[0] not in IMPURE_IMPORTS, f"{name(path)} imports {module}"
        if module.startswith("satmachine."):
            assert module.removeprefix("satmachine.").replace(".", "/") + ".py" in PURE, f"{name(path)}: {module}"


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
            assert not node.value.lstrip().startswith(SQL_WORDS), f"{name(path)}:{node.lineno} holds SQL"


@pytest.mark.parametrize("module", ["money.py", "models.py", *sorted(m for m in PURE if m.startswith("settlements/"))])
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


@pytest.mark.parametrize("module", ["money.py", "models.py", "nostr", "store", "wallet", "config"])
def test_lower_floors_know_nothing_of_the_upper_ones(module: str) -> None:
    below = {
        "money.py": (),
        "models.py": ("identity",),
        "nostr": ("errors", "nostr"),
        "wallet": ("errors", "identity", "models", "wallet"),
        "config": ("errors", "identity", "money", "config", "nostr.keys"),
        "store": (
            "errors",
            "failpoints",
            "identity",
            "marks",
            "models",
            "orders",
            "money",
            "orders",
            "config",
            "store",
            "clients",
            "reports.facts",
            "telemetry",
        ),
    }[module]
    paths = [PACKAGE / module] if module.endswith(".py") else sorted((PACKAGE / module).rglob("*.py"))
    for path in paths:
        for imported in imports(ast.parse(path.read_text())):
            if imported.startswith("satmachine."):
                inner = imported.removeprefix("satmachine.")
                assert inner.startswith(below), f"{name(path)} imports {imported}"

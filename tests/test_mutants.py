"""`make mutants` tells which changes of a module its tests do not notice; here is what notices if it does not."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.mutants import changes

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a in b", {"a not in b"}),
        ("a < b != c", {"a <= b != c", "a < b == c"}),
        ("a and b", {"a or b", "a", "b"}),
        ("not a", {"a"}),
        ("a + 1", {"a - 1", "a + 2", "a + 0"}),
        ("a * b", {"a // b"}),
        ("f(x=True)", {"f(x=False)", "pass"}),
        ("min(a)", {"max(a)", "pass"}),
        ("[a for a in b if c if d]", {"[a for a in b if d]"}),
        ("a if b else c", {"a if not b else c"}),
        ("raise A(1)", {"pass"}),
        ("a += b", {"pass"}),
        ("a.b = c", {"pass"}),
        ("del a", {"pass"}),
    ],
)
def test_the_changes_of_a_statement(source: str, expected: set[str]) -> None:
    body = source if source.startswith(("f(", "min", "raise", "a +=", "a.b", "del")) else f"x = {source}"
    found = {str(change).split(" -> ")[1].removeprefix("x = ") for change in changes(ast.parse(body))}
    assert found == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""What it does, in 3 words."""',
        "assert a > 0",
        'log.info("%s of %s", 1, 2)',
        "x: Literal[1]",
        "x = f'{a + 1}'",
    ],
)
def test_what_changes_no_behaviour_is_left_alone(source: str) -> None:
    assert changes(ast.parse(source)) == []


def test_a_function_that_returns_nothing_and_defaults_that_are_swapped() -> None:
    tree = ast.parse("def f(a=x, b=y):\n    return a")
    assert [str(change) for change in changes(tree)] == [
        "def f(a=x, b=y): return a -> def f(a=y, b=x): return a",
        "return a -> return None",
    ]


def test_a_tree_is_as_it_was_after_each_change() -> None:
    path = ROOT / "satmachine/marks.py"
    tree = ast.parse(path.read_text())
    before = ast.dump(tree)
    for change in changes(tree):
        with change.made():
            assert ast.dump(tree) != before
        assert ast.dump(tree) == before


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testkit.mutants", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_what_no_test_notices_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "def fee(sats):\n    if sats < 10:\n        return 0\n    return sats - 8\n\n\ndef tip():\n    return 1\n"
    )
    (tmp_path / "test_shop.py").write_text(
        "from shop import fee\n\n\ndef test_fee():\n    assert [fee(8), fee(9), fee(11)] == [0, 0, 3]\n"
    )
    done = run(tmp_path, "shop.py", "test_shop.py")
    assert done.stdout.splitlines() == [
        "shop.py:2: if sats < 10: return 0 -> if sats <= 10: return 0",
        "shop.py:2: if sats < 10: return 0 -> if sats < 11: return 0",
        "shop.py:8: return 1 -> return None  (no test comes here)",
        "shop.py:8: return 1 -> return 2  (no test comes here)",
        "shop.py:8: return 1 -> return 0  (no test comes here)",
        "shop.py: 13 of 13 changes tried, 5 survived",
    ], done.stderr
    assert done.returncode == 1


def test_every_sampled_change_of_what_decides_about_a_payment_is_noticed() -> None:
    done = run(
        ROOT,
        "satmachine/settlements/pay/transition.py",
        "tests/settlements/pay/test_transition.py",
        *("--limit", "4", "--seed", "3"),
    )
    assert done.stdout == "satmachine/settlements/pay/transition.py: 4 of 41 changes tried, 0 survived\n", done.stderr

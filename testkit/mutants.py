"""Which changes of a module do its tests not notice? `make mutants MODULE=satmachine/money.py TESTS=tests/..`

One small change at a time is made in the module's syntax tree: `<` becomes `<=`, a `not` is dropped, a statement does
nothing. Then its tests run. If they do not notice, the change has *survived*: a test is missing, or the code does
nothing, or the change makes no difference that anybody could see.

Each change is tried in a process forked from one that has imported all but this project: half a second, not three.
Larger tools of this kind keep sessions in a database, want a configuration and a dozen packages, and leave alone what
stands outside functions, as tables of rules do.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from itertools import permutations
from pathlib import Path

import coverage
import hypothesis
import pytest

QUIETLY = ["-x", "-q", "--tb=no", "--hypothesis-profile=mutants", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
QUIETLY += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]

PAIRS = "Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn, Add Sub, Mult FloorDiv, And Or, min max, any all"
OTHER = {one: other for pair in PAIRS.split(", ") for one, other in permutations(pair.split())}
# No behaviour:
SKIPPED_FIELDS = {"annotation", "returns", "decorator_list"}
SKIPPED_CALLS = ("log.", "failpoints.")


@dataclass(frozen=True)
class Change:
    """What one field of one node becomes."""

    holder: ast.AST
    field: str
    new: object
    statement: ast.AST  # the one that is changed ..
    instead: ast.AST  # .. and what stands there instead: the same, or another
    lines: range  # tests that run none of these cannot notice

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        old = getattr(self.holder, self.field)
        setattr(self.holder, self.field, self.new)
        yield
        setattr(self.holder, self.field, old)

    def __str__(self) -> str:
        before = _one_line(self.statement)
        with self.made():
            after = _one_line(self.instead)
        same = max(0, _alike(before, after) - 40)
        before, after = before[same:], after[same:]
        end = -max(0, _alike(before[::-1], after[::-1]) - 40) or None
        return f"{before[:end]} -> {after[:end]}"


def _one_line(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _alike(one: str, other: str) -> int:
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1), len(one))


def changes(tree: ast.AST) -> list[Change]:
    """Every change, from the first line to the last."""
    return sorted(_inside(tree, tree, range(0)), key=lambda change: change.lines.start)


def _inside(node: ast.AST, statement: ast.AST, lines: range) -> Iterator[Change]:
    for field, value in _altered(node):
        yield Change(node, field, value, statement, statement, lines)
    for field, value in ast.iter_fields(node):
        for at, child in enumerate(value if isinstance(value, list) else [value]):
            if field in SKIPPED_FIELDS or not isinstance(child, ast.AST) or _is_skipped(child):
                continue
            inside = not isinstance(child, ast.stmt)
            last = getattr(child, "lineno", lines.stop - 1)
            inner = range(lines.start if inside else last, last + 1)
            for new in _replaced(child):
                whole = [*value[:at], new, *value[at + 1 :]] if isinstance(value, list) else new
                yield Change(node, field, whole, *((statement, statement) if inside else (child, new)), inner)
            if not isinstance(child, ast.Raise):  # what it says is for people
                yield from _inside(child, statement if inside else child, inner)


def _is_skipped(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):  # a docstring, or a call
        return isinstance(node.value, ast.Constant) or ast.unparse(node).startswith(SKIPPED_CALLS)
    return isinstance(node, ast.Assert | ast.JoinedStr)


def _other(operator: ast.AST) -> object:
    return getattr(ast, OTHER[type(operator).__name__])()


def _altered(node: ast.AST) -> Iterator[tuple[str, object]]:
    """What a field of this node may become."""
    match node:
        case ast.Compare(ops=ops):
            yield from (("ops", [*ops[:at], _other(op), *ops[at + 1 :]]) for at, op in enumerate(ops))
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op).__name__ in OTHER:
            yield "op", _other(op)
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield "test", ast.UnaryOp(ast.Not(), test)
        case ast.comprehension(ifs=[_, *others]):
            yield "ifs", others
        case ast.Name(id=name) if name in OTHER:
            yield "id", OTHER[name]
        case ast.arguments(defaults=[*others, one, two]) if ast.dump(one) != ast.dump(two):
            yield "defaults", [*others, two, one]


def _replaced(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of this node."""
    match node:
        case ast.BoolOp(values=[one, other]):
            yield from (one, other)
        case ast.BoolOp(op=op, values=values):
            yield from (ast.BoolOp(op, values[:at] + values[at + 1 :]) for at in range(len(values)))
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Return(value=ast.expr() as value) if _one_line(value) not in ("None", "True", "False"):
            yield ast.Return(ast.Constant(None))
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()


class Mutants:
    """A module and its tests."""

    def __init__(self, path: Path, tests: list[str]) -> None:
        self.path, self.tests = path, tests
        self.name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        self.tree = ast.parse(path.read_text())
        self.reached, self.timeout_s = set[int](), 600.0
        self._learn()

    def _learn(self) -> None:
        """From the module as it is: which lines do its tests reach, how long do they take, what do they import?"""
        begun = time.monotonic()
        with tempfile.NamedTemporaryFile() as told:
            if _forked(lambda: self._run_watched(Path(told.name)), self.timeout_s) != 0:
                sys.exit(f"These tests fail without any change, or there are none: {' '.join(self.tests)}")
            lines, imported = json.loads(told.read())
        self.reached, self.timeout_s = set(lines), 5 + 4 * (time.monotonic() - begun)
        for name in imported:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        gc.freeze()  # or each process would look through all of it

    def _run_watched(self, told: Path) -> int:
        watch = coverage.Coverage(data_file=None, include=[str(self.path)], config_file=False)
        with watch.collect():
            status = _run_tests(self.tests)
        lines = watch.get_data().lines(str(self.path.resolve())) or []
        told.write_text(json.dumps([lines, [name for name, module in sys.modules.items() if not _is_ours(module)]]))
        return status

    def notices(self, change: Change) -> bool:
        with change.made():
            code = compile(ast.fix_missing_locations(self.tree), str(self.path), "exec")
        load = SourceFileLoader.get_code

        def run() -> int:
            changed = lambda loader, name: code if name == self.name else load(loader, name)  # noqa: E731
            SourceFileLoader.get_code = changed  # type: ignore[method-assign]
            return _run_tests(self.tests)

        return _forked(run, self.timeout_s) != 0


def _is_ours(module: object) -> bool:
    file = str(getattr(module, "__file__", ""))
    return file.startswith(f"{Path.cwd()}/") and "site-packages" not in file


def _run_tests(tests: list[str]) -> int:
    """What hypothesis finds is not made smaller: that it found something is enough."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", deadline=None, derandomize=True, phases=phases)
    return int(pytest.main([*QUIETLY, *tests]))


def _forked(job: Callable[[], int], timeout_s: float) -> int | None:
    """The exit status of a job in a silent process of its own; negative if it did not end in time."""

    def silently() -> None:
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os._exit(job())

    process = multiprocessing.get_context("fork").Process(target=silently)
    process.start()
    process.join(timeout_s)
    if process.exitcode is None and process.pid:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("`")[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--limit", type=int, help="try only so many, chosen by chance")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    mutants = Mutants(asked.module, asked.tests)
    possible = changes(mutants.tree)
    count, survived = min(asked.limit or len(possible), len(possible)), 0
    for at in sorted(random.Random(asked.seed).sample(range(len(possible)), count)):
        change = possible[at]
        unreached = "  (no test comes here)" if mutants.reached.isdisjoint(change.lines) else ""
        if unreached or not mutants.notices(change):
            survived += 1
            print(f"{asked.module}:{change.lines.stop - 1}: {change}{unreached}", flush=True)
    print(f"{asked.module}: {count} of {len(possible)} changes tried, {survived} survived", flush=True)
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()

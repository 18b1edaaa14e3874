"""Every normative statement has a test, and every number that a test carries is a statement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import statements_v5, statements_v311

TESTS = Path(__file__).resolve().parents[1]
STANDARDS = {5: statements_v5, 4: statements_v311}


def marks(path: Path) -> Iterator[tuple[int, str]]:
    """Version and number of each `statement(...)` in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) == "statement"
        ):
            version = next(
                (ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg == "version"), 5
            )
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    yield (4 if version in (3, 4, 311) else 5), str(argument.value)


CARRIED = {mark for path in TESTS.rglob("test_*.py") for mark in marks(path)}


@pytest.mark.parametrize("version", STANDARDS)
def test_every_statement_has_a_test_or_a_reason(version: int) -> None:
    reasons = getattr(STANDARDS[version], "CLIENT", {})
    assert [
        number for number in STANDARDS[version].STATEMENTS if (version, number) not in CARRIED and number not in reasons
    ] == []


@pytest.mark.parametrize("version", STANDARDS)
def test_every_number_is_a_statement(version: int) -> None:
    assert {number for carried, number in CARRIED if carried == version} <= set(STANDARDS[version].STATEMENTS)


@pytest.mark.parametrize("version", STANDARDS)
def test_every_reason_belongs_to_a_statement(version: int) -> None:
    assert set(getattr(STANDARDS[version], "CLIENT", {})) <= set(STANDARDS[version].STATEMENTS)

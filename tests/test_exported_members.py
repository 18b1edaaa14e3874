"""The names that `nanomq` exports: complete, sorted, importable, and no others."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import nanomq
from nanomq import errors

SOURCE = Path(nanomq.__file__).read_text()


def test_every_exported_name_can_be_imported() -> None:
    assert all(getattr(nanomq, name) is not None for name in nanomq.__all__)


def test_dir_shows_the_exported_names() -> None:
    assert dir(nanomq) == sorted(nanomq.__all__)


def test_type_checkers_see_the_exported_names() -> None:
    imported = {
        name.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nanomq.")
        for name in node.names
    }
    assert imported == set(nanomq.__all__) - {"__version__"}


def test_every_exception_is_exported() -> None:
    found = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert found <= set(nanomq.__all__)


def test_every_exported_name_is_documented() -> None:
    exported = (getattr(nanomq, name) for name in nanomq.__all__ if name != "__version__")
    assert [value.__name__ for value in exported if not value.__doc__] == []


def test_exceptions_share_one_base() -> None:
    exceptions = (getattr(nanomq, name) for name in nanomq.__all__ if name.endswith(("Error", "Disconnected")))
    assert all(issubclass(value, nanomq.NanomqError) for value in exceptions)

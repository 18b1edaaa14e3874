"""Reads the cards of the rooms and checks that nobody uses more than the card says.

A card is the first comment of a `lib.rs` or `mod.rs`, or the docstring of an `__init__.py`, with five lines. Its
*may use* line is compared with the imports. Rooms of one file have their line in `ROOMS`, as design and
ARCHITECTURE.md say it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = ("does", "owns", "may use", "never", "change here when")

RUST_ROOMS = (
    "engine/proto",
    "engine/proto/wire",
    "engine/proto/route",
    "engine/proto/session",
    "engine/io",
    "engine/py",
)
PROTO_ROOMS = ("wire", "route", "session", "output", "blocks")
IMPURE = r"\b(?:Instant|SystemTime)\b|\bstd::(?:net|fs|thread|env|process|os|time)\b|\b(?:println|eprintln|print|dbg)!"

PYTHON_ROOMS = sorted(p.parent.relative_to(ROOT).as_posix() for p in ROOT.glob("nanomq/*/__init__.py"))
FILE_ROOMS = {
    "nanomq/broker.py": {"_core", "config", "errors", "logs"},
    "nanomq/client.py": {"_core", "errors"},
    "nanomq/errors.py": set(),
    "nanomq/load.py": {"_core", "errors"},
    "nanomq/logs.py": {"config", "errors"},
    "nanomq/testing.py": {"_core", "broker", "client", "errors"},
    "nanomq/__main__.py": {"cli"},
}

IMPORTED_AS = {"pyyaml": "yaml"}


def card(room: str) -> dict[str, str]:
    """The five lines of a room's card."""
    place = ROOT / room
    if room.startswith("engine"):
        crate, _, module = room.removeprefix("engine/").partition("/")
        source = ROOT / "engine" / crate / "src" / (f"{module}/mod.rs" if module else "lib.rs")
        text = "\n".join(re.findall(r"^//! ?(.*)$", source.read_text(), re.M))
    else:
        text = ast.get_docstring(ast.parse((place / "__init__.py").read_text())) or ""
    return {name: m[1].strip() for name in LINES if (m := re.search(rf"^{name}:\s*(.*)$", text, re.M))}


def words(line: str) -> set[str]:
    """The names in a *may use* line; `std(collections, fmt)` counts as one."""
    return set(re.findall(r"[\w.-]+", re.sub(r"\(.*?\)", "", line)))


# --- every room ---


@pytest.mark.parametrize("room", [*RUST_ROOMS, "nanomq", *PYTHON_ROOMS])
def test_card_has_five_lines(room: str) -> None:
    assert tuple(card(room)) == LINES


# --- Rust ---


def rust_code(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file without comments, strings and unit tests."""
    for file in sorted(folder.rglob("*.rs")):
        text = re.sub(r"//[^\n]*", "", file.read_text())
        text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
        yield file, text.partition("#[cfg(test)]")[0]


@pytest.mark.parametrize("crate", ["proto", "io", "py"])
def test_crate_depends_on_what_its_card_says(crate: str) -> None:
    manifest = tomllib.loads((ROOT / "engine" / crate / "Cargo.toml").read_text())
    assert set(manifest["dependencies"]) <= words(card(f"engine/{crate}")["may use"])


@pytest.mark.parametrize("room", ["wire", "route", "session"])
def test_room_of_the_core_uses_only_the_rooms_on_its_card(room: str) -> None:
    allowed = words(card(f"engine/proto/{room}")["may use"]) | {room}
    for file, text in rust_code(ROOT / "engine/proto/src" / room):
        used = set(re.findall(r"\bcrate::(\w+)", text)) & set(PROTO_ROOMS)
        assert used <= allowed, f"{file.relative_to(ROOT)} uses {used - allowed}"


def test_core_has_no_clock_socket_thread_or_file() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {hit}"
        for file, text in rust_code(ROOT / "engine/proto/src")
        for hit in re.findall(IMPURE, text)
    ]
    assert not found


def test_only_the_boundary_knows_python() -> None:
    found = [f for crate in ("proto", "io") for f, text in rust_code(ROOT / "engine" / crate / "src") if "pyo3" in text]
    assert not found


def test_files_of_the_boundary_are_small() -> None:
    sizes = {f.name: len(f.read_text().splitlines()) for f in (ROOT / "engine/py/src").glob("*.rs")}
    assert all(size <= 500 for size in sizes.values()), sizes


# --- Python ---


def imports(file: Path) -> Iterator[str]:
    """Full names of imported modules, also those for type checkers and those inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            is_package = (ROOT / node.module.replace(".", "/")).is_dir()
            yield from (f"{node.module}.{name.name}" if is_package else node.module for name in node.names)


def rooms_of(file: Path) -> set[str]:
    """The rooms of this package that a file imports."""
    parts = (name.split(".") for name in imports(file))
    return {p[1] for p in parts if (p[0] == "nanomq" and len(p) > 1 and p[1][0] != "_") or p[:2] == ["nanomq", "_core"]}


@pytest.mark.parametrize("room", PYTHON_ROOMS)
def test_package_imports_what_its_card_says(room: str) -> None:
    allowed = {name.removeprefix("nanomq.") for name in words(card(room)["may use"])} | {room.rpartition("/")[2]}
    for file in sorted((ROOT / room).rglob("*.py")):
        assert rooms_of(file) <= allowed, f"{file.relative_to(ROOT)} imports {rooms_of(file) - allowed}"


@pytest.mark.parametrize("file", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("nanomq/*.py")))
def test_file_imports_what_the_table_says(file: str) -> None:
    if file == "nanomq/__init__.py":
        allowed = {name.removeprefix("nanomq.") for name in words(card("nanomq")["may use"])}
    else:
        allowed = FILE_ROOMS[file]
    assert rooms_of(ROOT / file) <= allowed


def test_every_foreign_package_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for name, texts in project["optional-dependencies"].items() if name != "dev" for text in texts]
    names = {re.split(r"[^\w-]", text)[0] for text in [*project["dependencies"], *extras]}
    declared = {IMPORTED_AS.get(name, name) for name in names}
    tops = {name.partition(".")[0] for file in ROOT.glob("nanomq/**/*.py") for name in imports(file)}
    assert tops - sys.stdlib_module_names - {"nanomq"} <= declared


def test_tests_use_public_names_of_the_package() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in ROOT.glob("tests/**/*.py")
        if "node_modules" not in file.parts
        for name in imports(file)
        if name.startswith("nanomq.") and any(re.match("_(?!_)", part) for part in name.split("."))
    }
    assert not found

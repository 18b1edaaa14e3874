"""Configuration files → one raw tree in which every value knows its file, line and column.

The text of a file is in NanoMQ's HOCON dialect (`hocon`). Here files are read and includes are followed.
"""

from __future__ import annotations

from pathlib import Path

from nanomq.config import hocon
from nanomq.config.tree import Place, Raw
from nanomq.errors import ConfigError, Problem


def read_file(path: Path, warnings: list[Problem]) -> Raw:
    """Read a file with its includes. Raises `ConfigError` when it cannot be read or is not well formed."""
    return _Reader(warnings).file(path, "configuration file", depth=0)


def read_text(text: str, name: str, warnings: list[Problem]) -> Raw:
    """Read configuration text; `name` stands for the file in places."""
    return _Reader(warnings).text(text, name, Path.cwd(), depth=0)


class _Reader:
    """Reads one main file and what it includes."""

    def __init__(self, warnings: list[Problem]) -> None:
        self.warnings = warnings

    def file(self, path: Path, what: str, depth: int) -> Raw:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError([Problem("", str(path), f"the {what} is larger than {MAX_FILE_BYTES >> 20} MB")])
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(
                [Problem("", str(path), f"the {what} is not UTF-8 text (byte {error.start})", "save it as UTF-8")]
            ) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigError(
                [Problem("", str(path), f"the {what} cannot be read: {reason}", "check the path and its permissions")]
            ) from None
        return self.text(text, str(path), path.parent, depth)

    def text(self, text: str, name: str, directory: Path, depth: int) -> Raw:
        def include(included: str, place: Place, must_exist: bool) -> dict[str, Raw]:
            return self.include(included, place, directory, depth, must_exist)

        return hocon.parse(text, name, include)

    def include(self, name: str, place: Place, directory: Path, depth: int, must_exist: bool) -> dict[str, Raw]:
        if depth >= MAX_INCLUDES:
            raise ConfigError(
                [
                    Problem(
                        "include",
                        str(place),
                        f"files include each other more than {MAX_INCLUDES} deep",
                        f"look for a file that includes itself, such as `{name}`",
                    )
                ]
            )
        for base in (directory, Path.cwd()):
            try:
                found = (base / name).is_file()
            except (OSError, ValueError):  # a name that no file can have
                found = False
            if found:
                raw = self.file(base / name, "included file", depth + 1)
                assert isinstance(raw.value, dict)
                return raw.value
        problem = Problem(
            "include",
            str(place),
            f"`{name}` is neither beside the including file nor in the working directory",
            "create it, or remove the line",
        )
        if must_exist:
            raise ConfigError([problem])
        self.warnings.append(problem)  # NanoMQ skips a missing file of the quoted form
        return {}


MAX_INCLUDES = 10
MAX_FILE_BYTES = 16 << 20

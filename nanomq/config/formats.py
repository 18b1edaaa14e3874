"""Configuration files → one raw tree in which every value knows its file, line and column.

The suffix says what is in a file: JSON, TOML or YAML (`documents`); else it is NanoMQ's HOCON dialect
(`hocon`), or, recognised by its names, the older key=value lines (`keyvalue`). Here files are read, includes are followed, and
references are replaced once everything is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nanomq.config import discretion, hocon, keyvalue
from nanomq.config.substitution import resolve
from nanomq.config.tree import Place, Raw
from nanomq.errors import ConfigError, Problem


def read_file(
    path: Path, warnings: list[Problem], env: Mapping[str, str] | None = None, *, is_old: bool = False
) -> Raw:
    """Read a file with its includes; `env` is what `${NAME}` may refer to, `is_old` says that it has key=value lines.

    Raises `ConfigError` when it cannot be read or is not well formed.
    """
    root = _Reader(warnings, is_old).file(path, "configuration file", ())
    resolve(root, env or {})
    return root


def read_old_file(path: Path, warnings: list[Problem]) -> dict[str, Raw]:
    """Read a key=value file of one feature, as NanoMQ 0.11 had them. Raises `ConfigError` when it cannot be read."""
    text = _Reader(warnings).content(path, "file of an old release")
    raw = keyvalue.parse(text, str(path), warnings, is_main=False)
    assert isinstance(raw.value, dict)
    return raw.value


def read_text(
    text: str, name: str, warnings: list[Problem], env: Mapping[str, str] | None = None, *, is_old: bool = False
) -> Raw:
    """Read configuration text; `name` stands for the file in places."""
    root = _Reader(warnings, is_old).text(text, name, Path.cwd(), ())
    resolve(root, env or {})
    return root


def read_content(path: Path) -> str:
    """The text of a file of any kind. Raises `ConfigError` when it cannot be read."""
    return _Reader([]).content(path, "file")


class _Reader:
    """Reads one main file and what it includes."""

    def __init__(self, warnings: list[Problem], is_old: bool = False) -> None:
        self.warnings, self.is_old = warnings, is_old

    def file(self, path: Path, what: str, above: tuple[Path, ...]) -> Raw:
        """Read a file; `above` are the files that include it, the main file first."""
        return self.text(self.content(path, what), str(path), path.parent, (*above, path))

    def content(self, path: Path, what: str) -> str:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError(
                    [
                        Problem(
                            "",
                            str(path),
                            f"the {what} is larger than {MAX_FILE_BYTES >> 20} MB",
                            "look whether it is the right file",
                        )
                    ]
                )
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(
                [Problem("", str(path), f"the {what} is not UTF-8 text (byte {error.start})", "save it as UTF-8")]
            ) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigError(
                [Problem("", str(path), f"the {what} cannot be read: {reason}", "check the path and its permissions")]
            ) from None

    def text(self, text: str, name: str, directory: Path, above: tuple[Path, ...]) -> Raw:
        suffix = Path(name).suffix.lower()
        if self.is_old or (suffix not in SUFFIXES and len(above) < 2 and keyvalue.is_keyvalue(text)):
            return keyvalue.parse(text, name, self.warnings)
        if suffix in SUFFIXES:
            from nanomq.config import documents  # late: a start with HOCON does not pay for it

            return documents.parse(text, name, suffix)

        def include(included: str, place: Place, must_exist: bool) -> dict[str, Raw]:
            return self.include(included, place, directory, above, must_exist)

        return hocon.parse(text, name, include)

    def include(
        self, name: str, place: Place, directory: Path, above: tuple[Path, ...], must_exist: bool
    ) -> dict[str, Raw]:
        if len(above) > MAX_INCLUDES:
            text = f"files include each other more than {MAX_INCLUDES} deep"
            raise ConfigError([Problem("include", str(place), text, "include them from one file")])
        for base in (directory, Path.cwd()):
            path = base / name
            try:
                found = path.is_file()
                ring = next((index for index, other in enumerate(above) if found and path.samefile(other)), None)
            except (OSError, ValueError):  # a name that no file can have
                continue
            if ring is not None:
                files = " → ".join(f"`{file.name}`" for file in (*above[ring:], path))
                text = f"the file includes itself: {files}"
                raise ConfigError([Problem("include", str(place), text, "remove one of these includes")])
            if found:
                raw = self.file(path, "included file", above)
                assert isinstance(raw.value, dict)
                return raw.value
        problem = Problem(
            "include",
            str(place),
            f"{discretion.file(name)} is neither beside the including file nor in the working directory",
            "create it, or remove the line",
        )
        if must_exist:
            raise ConfigError([problem])
        self.warnings.append(problem)  # NanoMQ skips a missing file of the quoted form
        return {}


SUFFIXES = (".json", ".toml", ".yaml", ".yml")
MAX_INCLUDES = 10
MAX_FILE_BYTES = 16 << 20

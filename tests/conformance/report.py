"""Writes `docs/conformance.md`: statement, what it asks for, tests, whether they pass.

`python tests/conformance/report.py` runs the conformance tests first; `--from FILE` takes the results of a run that
was made with `pytest --conformance-report FILE`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from conformance import statements_v5, statements_v311

TARGET = ROOT / "docs" / "conformance.md"
STANDARDS = {5: ("MQTT 5.0", statements_v5), 4: ("MQTT 3.1.1", statements_v311)}
HEAD = """\
# Conformance

Made by `python tests/conformance/report.py`; do not edit. Each normative statement of the standards, in our own
words, with the tests that carry its number. Tests of the broker run over TCP, TLS, WebSocket, secure WebSocket and
Unix sockets, and pass when they pass on all of them. Statements that bind clients are tested on our own client.
"""

Results = dict[str, dict[str, bool]]


def main() -> int:
    """Runs the tests if needed, writes the report; 1 if a test failed or a statement has none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, help="results of an earlier run")
    source = parser.parse_args().source
    with tempfile.TemporaryDirectory() as place:
        if source is None:
            source = Path(place) / "results.json"
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-n",
                "auto",
                "tests/conformance",
                "tests/clients",
                f"--conformance-report={source}",
            ]
            subprocess.run(
                [part for part in command if not part.startswith("tests/") or (ROOT / part).exists()],
                cwd=ROOT,
                check=False,
            )
        results: Results = json.loads(source.read_text())
    TARGET.write_text(render(results))
    failed = [test for tests in results.values() for test, passed in tests.items() if not passed]
    return (
        1 if failed or any(missing(standard, results, version) for version, (_, standard) in STANDARDS.items()) else 0
    )


def render(results: Results) -> str:
    """The whole page."""
    return (
        "\n".join([HEAD, *summary(results), *(line for version in STANDARDS for line in table(version, results))])
        + "\n"
    )


def summary(results: Results) -> Iterator[str]:
    """How many statements pass, by standard."""
    yield "| Standard | Statements | Pass | Fail | Without a test |"
    yield "|---|---|---|---|---|"
    for version, (name, standard) in STANDARDS.items():
        states = [state(version, number, results) for number in standard.STATEMENTS]
        counts = (states.count(word) for word in ("passes", "fails", "untested"))
        yield f"| {name} | {len(states)} | {' | '.join(map(str, counts))} |"
    yield ""


def table(version: int, results: Results) -> Iterator[str]:
    """One standard."""
    name, standard = STANDARDS[version]
    yield f"## {name}\n"
    yield "| Statement | Asks that | Tests | |"
    yield "|---|---|---|---|"
    for number, text in standard.STATEMENTS.items():
        tests = results.get(f"{version} {number}", {})
        shown = by_file(tests) or clients_only(standard).get(number, "")
        yield f"| {number} | {text} | {shown} | {state(version, number, results)} |"
    yield ""


def by_file(tests: Iterable[str]) -> str:
    """Each file once, with its tests as sentences."""
    files: dict[str, list[str]] = {}
    for test in sorted(tests):
        path, _, name = test.partition("::")
        files.setdefault(path.removeprefix("tests/").removeprefix("conformance/"), []).append(sentence(name))
    return "<br>".join(f"`{path}`: {'; '.join(names)}" for path, names in files.items())


def sentence(test: str) -> str:
    """The name of a test as words."""
    return test.rpartition("::")[2].removeprefix("test_").replace("_", " ")


def state(version: int, number: str, results: Results) -> str:
    """`passes`, `fails` or `untested`."""
    tests = results.get(f"{version} {number}")
    if not tests:
        return "untested"
    return "passes" if all(tests.values()) else "fails"


def clients_only(standard: ModuleType) -> dict[str, str]:
    """Statements that no test of the broker can carry, with the reason."""
    return dict(getattr(standard, "CLIENT", {}))


def missing(standard: ModuleType, results: Results, version: int) -> list[str]:
    """Statements without a test and without a reason."""
    return [
        number
        for number in standard.STATEMENTS
        if f"{version} {number}" not in results and number not in clients_only(standard)
    ]


if __name__ == "__main__":
    sys.exit(main())

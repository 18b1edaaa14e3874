"""The texts are true: links lead somewhere, examples run, generated pages are fresh, every key and command is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nanomq.cli.broker import nanomq
from nanomq.cli.tools import nanomq_cli
from nanomq.config import from_dict, load, schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MANUAL = "\n".join(page.read_text() for page in PAGES)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md"])
def test_named_files_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    paths = re.findall(r"`((?:engine|nanomq|tests|docs|scripts)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    files = re.findall(r"[`*]([\w/]+\.rs)[`*]", text)
    sources = [p.as_posix() for p in ROOT.glob("engine/*/src/**/*.rs")]
    assert [file for file in files if not any(source.endswith(f"/{file}") for source in sources)] == []


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_example_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = blocks("README.md", "python")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("hello/world b'Hello'\n", "")


def test_examples_of_the_testing_guide_run(tmp_path: Path) -> None:
    with_fixtures, plain = blocks("docs/guides/testing.md", "python")
    (tmp_path / "test_guide.py").write_text(with_fixtures)
    (tmp_path / "plain.py").write_text(plain)
    for command in (["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."], ["plain.py"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["docs/guides/first-broker.md", "README.md"])
def test_configurations_of_the_guides_name_known_keys(page: str) -> None:
    text = "\n".join(blocks(page, "hocon") + blocks(page, "console"))
    keys = set(re.findall(r"\b((?:log|mqtt|auth|system)\.\w+) = ", text))
    assert keys <= set(schema.table())


@pytest.mark.parametrize("language", ["hocon", "toml", "yaml"])
def test_examples_of_the_configuration_guide_load_without_a_word(language: str, tmp_path: Path) -> None:
    for number, text in enumerate(blocks("docs/guides/configuration.md", language)):
        file = tmp_path / f"{number}.{'conf' if language == 'hocon' else language}"
        file.write_text(text)
        assert [str(warning) for warning in load(file).warnings] == []


def test_reference_of_the_configuration_is_fresh(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nanomq.config", "-"], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.stdout == (ROOT / "docs/reference/configuration.md").read_text()


@pytest.mark.parametrize("command", sorted({*nanomq.commands, *nanomq_cli.commands}))
def test_every_command_is_in_the_manual(command: str) -> None:
    assert re.search(rf"\b(?:nanomq|nanomq_cli) {command}\b", MANUAL)


def test_defaults_can_be_used() -> None:
    assert from_dict({}).listeners

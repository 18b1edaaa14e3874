"""Print the requirements of one extra of pyproject.toml, one a line, so that pip need not build the project for them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """`python scripts/requirements.py EXTRA`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    print("\n".join([*project["dependencies"], *project["optional-dependencies"][sys.argv[1]]]))


if __name__ == "__main__":
    main()

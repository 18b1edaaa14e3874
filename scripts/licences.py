"""Check the licence of every crate that ends in the engine against the list below; works offline."""

from __future__ import annotations

import json
import re
import subprocess
import sys

# Each lets a user of the wheel do all that MIT does, if its text is passed on.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression, or the older `A/B` form, can be satisfied with `ALLOWED` licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))
    words = [t if t in "()" else t.lower() if t in ("AND", "OR") else str(t in ALLOWED) for t in tokens]
    return bool(words) and bool(eval(" ".join(words), {"__builtins__": {}}))  # only ( ) and or True False


def main() -> int:
    """Prints each crate that is not allowed. **Returns** the exit code."""
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
    crates = [p for p in metadata["packages"] if p["source"]]
    refused = [p for p in crates if not is_allowed(p["license"] or "")]
    for p in refused:
        print(f"{p['name']} {p['version']}: licence `{p['license']}` is not in the list of scripts/licences.py")
    print(f"licences: {len(crates) - len(refused)} of {len(crates)} crates are fine")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())

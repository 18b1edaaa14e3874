"""Counts the instructions of one message on the fast path, so that no change makes it slower unseen.

Valgrind runs the example `fast_path` twice; the difference is what the additional messages cost. Unlike times,
instruction counts are the same on every run. `--accept` writes the counts as the new bounds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = Path(__file__).with_name("instructions.json")
CASES = ("1-1-0", "1-1-1", "1-100-0", "1-100-1", "1-1-0-v5", "1-1-0-miss", "1-1-0-shards")
MESSAGES = (512 * 10, 512 * 50)
MARGIN = 1.10


def report() -> tuple[bool, str]:
    """Counts and compares. Returns whether all counts are within their bounds, and a text for the page."""
    if shutil.which("valgrind") is None:
        print("instructions are not counted, valgrind is missing: apt-get install valgrind")
        return True, ""
    found = counts()
    bounds = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    ok = True
    lines = ["| Case | Instructions a message | Bound |", "| --- | ---: | ---: |"]
    for case, count in found.items():
        bound = bounds.get(case, count)
        if count > bound * MARGIN:
            ok = False
            print(f"{case}: {count} instructions a message are more than {bound} + {MARGIN - 1:.0%}")
        lines.append(f"| {case} | {count:,} | {bound:,} |")
    text = "\n".join(lines)
    print(text)
    return ok, f"## Instructions of the fast path\n\nPublishers, subscribers, QoS; without sockets.\n\n{text}"


def counts() -> dict[str, int]:
    """Case → instructions of one published message."""
    build = [
        "cargo",
        "build",
        "--quiet",
        "--release",
        "-p",
        "nanomq-proto",
        "--example",
        "fast_path",
        "--message-format",
        "json",
    ]
    output = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    messages = (json.loads(line) for line in output.splitlines())
    binary = next(m["executable"] for m in messages if m.get("target", {}).get("name") == "fast_path")
    few, many = MESSAGES
    return {case: round((count(binary, case, many) - count(binary, case, few)) / (many - few)) for case in CASES}


def count(binary: str, case: str, messages: int) -> int:
    """Instructions of one whole run."""
    with tempfile.TemporaryDirectory() as place:
        out = f"--callgrind-out-file={place}/out"
        command = ["valgrind", "--tool=callgrind", out, binary, case, str(messages)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    match = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
    if match is None:
        raise SystemExit(f"valgrind says nothing of instructions:\n{run.stderr}")
    return int(match[1])


if __name__ == "__main__":
    if "--accept" in sys.argv:
        BOUNDS.write_text(json.dumps(counts(), indent=2) + "\n")
    sys.exit(0 if report()[0] else 1)

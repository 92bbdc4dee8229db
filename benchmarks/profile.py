"""Where the time of a call goes: `python -m benchmarks.profile` samples a process that makes calls, and adds up by package."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.calls import ERAS
from benchmarks.processes import ROOT, Server, running
from benchmarks.subjects import SUBJECTS

PACKAGE = re.compile(r"\((?:<frozen )?([A-Za-z0-9_]+)")
"""Of a frame as py-spy writes it: `send (httpx2/_client.py:1781)`."""


def main() -> None:
    """Sample, print the shares; with `--output`, keep a flame graph."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--subject", choices=SUBJECTS, default="ours")
    parser.add_argument("--era", choices=ERAS, default=ERAS[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of CPU")
    parser.add_argument("--output", type=Path, help="an SVG flame graph")
    options = parser.parse_args()
    server = Server()
    with running(server), tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-m", "benchmarks.spin", options.subject, server.url(options.era), str(options.seconds)]
        if options.output:
            _sample(options.output, "flamegraph", program)
        else:
            raw = Path(folder) / "raw"
            _sample(raw, "raw", program)
            _print(_shares(raw.read_text()))


def _sample(output: Path, form: str, program: list[str]) -> None:
    command = ["py-spy", "record", "--rate", "400", "--format", form, "--output", str(output), "--", *program]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _shares(stacks: str) -> Counter[str]:
    """Samples of the running event loop by the package of the innermost frame. `asyncio` includes the system calls of its sockets."""
    shares: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        if "_run_once" not in stack or "_find_and_load" in stack:  # imports are another matter
            continue
        found = PACKAGE.search(stack.rpartition(";")[2])
        shares[found.group(1) if found else "?"] += int(samples)
    return shares


def _print(shares: Counter[str]) -> None:
    for package, samples in shares.most_common(16):
        print(f"| `{package}` | {100 * samples / shares.total():.0f} % |")


if __name__ == "__main__":
    main()

"""Where the CPU of a call goes: `python -m benchmarks.profile` looks at a process that makes calls, and adds up by package."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.calls import ERAS
from benchmarks.processes import ROOT, Server, running
from benchmarks.subjects import SUBJECTS


def main() -> None:
    """Print the shares; or keep a flame graph."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--subject", choices=SUBJECTS, default="ours")
    parser.add_argument("--era", choices=ERAS, default=ERAS[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of CPU")
    parser.add_argument("--output", type=Path, help="an SVG flame graph instead, by py-spy: best on a quiet machine")
    options = parser.parse_args()
    server = Server()
    with running(server):
        program = [sys.executable, "-m", "benchmarks.spin", options.subject, server.url(options.era), str(options.seconds)]
        if options.output:
            spy = ["py-spy", "record", "--rate", "400", "--format", "flamegraph", "--output", str(options.output), "--"]
            subprocess.run([*spy, *program], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            seen = subprocess.run([*program, "--shares"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
            _print(Counter(json.loads(seen)))


def _print(shares: Counter[str]) -> None:
    for package, samples in shares.most_common(16):
        print(f"| `{package}` | {100 * samples / shares.total():.0f} % |")


if __name__ == "__main__":
    main()

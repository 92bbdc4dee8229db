"""Makes calls for so many seconds of CPU, for `benchmarks.profile` to look at; with `--shares` it looks at itself, and prints what it saw.

It is interrupted after each hundredth of a second *of CPU*: another process that wants the machine changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.subjects import SUBJECTS

EVERY = 0.01
"""Seconds of CPU."""


async def spin(subject: str, url: str, seconds: float, samples: Counter[str]) -> None:
    async with SUBJECTS[subject](url, ["bench-0"]) as [user], user() as call:
        await call({"text": "hello"})  # all is imported and open
        samples.clear()
        until = time.process_time() + seconds
        while time.process_time() < until:
            await call({"text": "hello"})


def sample() -> Counter[str]:
    """From now on, by file, how often the event loop's thread was found in it. A system call counts for the file that makes it."""
    samples: Counter[str] = Counter()

    def note(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            samples[frame.f_code.co_filename] += 1

    signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    return samples


def package(filename: str) -> str:
    """That the file belongs to; modules of the standard library are packages of their own."""
    homes = [home for home in sys.path if home and filename.startswith(f"{home}/")]
    inside = filename.removeprefix(f"{max(homes, key=len)}/") if homes else filename
    return Path(inside).parts[0].removesuffix(".py")


if __name__ == "__main__":
    subject, url, seconds, *shares = sys.argv[1:]
    samples = sample() if shares else Counter[str]()
    asyncio.run(spin(subject, url, float(seconds), samples))
    signal.setitimer(signal.ITIMER_PROF, 0)
    packages: Counter[str] = Counter()
    for filename, number in samples.items():
        packages[package(filename)] += number
    print(json.dumps(packages))

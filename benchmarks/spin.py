"""Makes calls for so many seconds of CPU, for `benchmarks.profile` to look at."""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks.subjects import SUBJECTS


async def spin(subject: str, url: str, seconds: float) -> None:
    async with SUBJECTS[subject](url, ["bench-0"]) as [user], user() as call:
        until = time.process_time() + seconds
        while time.process_time() < until:
            await call({"text": "hello"})


if __name__ == "__main__":
    asyncio.run(spin(sys.argv[1], sys.argv[2], float(sys.argv[3])))

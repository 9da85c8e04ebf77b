"""A Python of its own, as a user's program starts."""

import os
import subprocess
import sys


def output_of(*arguments: str, threads: int, **environment: str) -> str:
    """Return the output of a fresh Python with these arguments.

    Raises:
        CalledProcessError: it failed; what it said about it stands on standard error.
    """
    environment = os.environ | environment | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

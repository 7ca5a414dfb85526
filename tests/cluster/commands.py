"""The commands of Dask, each in a fork of a process that has imported it."""

import importlib
import os
import sys


def run_command(module, arguments, folder, environment):
    """Run ``dask-scheduler`` or ``dask-worker``, with a folder and environment variables of its own."""
    os.chdir(folder)
    os.environ |= environment
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    importlib.import_module(f"distributed.cli.{module}").main(arguments)

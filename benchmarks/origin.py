"""What benchmarks say of their numbers: the machine and the code that they are of, and their mean and deviation."""

import os
import pathlib
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from typing import Any


def commit(*, short: bool = False) -> str:
  """Returns the commit of the code in the working folder."""
  command = ['git', 'rev-parse', *(['--short'] if short else []), 'HEAD']
  return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def machine() -> dict[str, Any]:
  """Returns the number of cores and the system."""
  return {'cores': os.cpu_count(), 'platform': platform.platform()}


def processor() -> str:
  """Returns the name of the processor."""
  names = [line.partition(':')[2].strip() for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines()
           if line.startswith('model name')]
  return names[0] if names else platform.machine()


def measurement() -> dict[str, Any]:
  """Returns machine, load, code and time of a measurement of speed or memory."""
  return {'system': platform.platform(), 'processor': processor(), 'cores': os.cpu_count(),
          'load_before': os.getloadavg()[0], 'python': platform.python_version(), 'commit': commit(short=True),
          'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}


def deviation(values: Sequence[float]) -> float:
  """Returns the standard deviation of a sample, over n - 1; 0 for a single value."""
  return statistics.stdev(values) if len(values) > 1 else 0.0


def spread(values: Sequence[float]) -> dict[str, Any]:
  """Returns `mean`, `sd` and the `values` themselves."""
  return {'mean': statistics.mean(values), 'sd': deviation(values), 'values': values}

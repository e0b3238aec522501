"""Scripts run as their users run them: a process each."""

import os
import subprocess
import sys

import pytest

from tests.documents import commands


@pytest.fixture
def run_module():
  """Returns run(module, *args) -> the finished process, with its output as text."""
  def run(module, *args, timeout=120):
    return subprocess.run([sys.executable, '-m', module, *map(str, args)], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, cwd=commands.ROOT, env=dict(os.environ), timeout=timeout, check=False)
  return run

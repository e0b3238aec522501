"""How a system under measurement talks to `benchmarks.simulation`: lines of JSON, so that runs can be interleaved.

The child writes {"rounds": 1, "seconds": s} when its first round is done. Each line on its standard input holds a
number of seconds; the child then runs rounds until this time has passed, at least one round, and answers in the same
form. It stops at the end of its input.
"""

import json
import os
import sys
import time
from collections.abc import Callable

from benchmarks.peers import workload


def requested() -> workload.Workload:
  """Returns the workload of the command line."""
  return workload.parse(sys.argv[1])


def serve(run_round: Callable[[], None]) -> None:
  """Answers until the input ends; `run_round` does one whole round."""
  gate = Gate()
  run_round()
  while gate.round_done():
    run_round()


class Gate:
  """Counts and times rounds, for systems with their own training loop; must be made before the first round."""

  def __init__(self):
    self._out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # Output of libraries must not be taken for an answer.
    self._begin(0.0)

  def round_done(self) -> bool:
    """Returns whether another round is wanted; waits until one is."""
    self._rounds += 1
    seconds = time.perf_counter() - self._started
    if seconds < self._wanted:
      return True
    print(json.dumps({'rounds': self._rounds, 'seconds': seconds}), file=self._out, flush=True)
    line = sys.stdin.readline()
    if line:
      self._begin(float(line))
    return bool(line)

  def _begin(self, wanted):
    self._wanted = wanted
    self._rounds = 0
    self._started = time.perf_counter()

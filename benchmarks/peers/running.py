"""Starts the systems of one workload, interleaves their turns, and records the time of each turn."""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import psutil

from benchmarks.peers import workload

_LONG_ROUND = 15.0
ROOT = pathlib.Path(__file__).parent.parent.parent


def measure(work: workload.Workload, pythons: Mapping[str, str], *, repetitions: int, seconds: float
            ) -> dict[str, dict[str, Any]]:
  """Returns each system's numbers; a system that fails has an `error` instead.

  Args:
    work: The workload.
    pythons: The interpreter of each system.
    repetitions: Number of measurements of each system; the systems take turns.
    seconds: Shortest duration of a measurement.
  """
  with tempfile.TemporaryDirectory() as folder:
    systems = {name: _System(name, python, work, pathlib.Path(folder, name)) for name, python in pythons.items()}
    try:
      for system in systems.values():
        system.start()
      for _ in range(repetitions):
        for system in systems.values():
          system.take_turn(seconds)
      return {name: system.numbers() for name, system in systems.items()}
    finally:
      for system in systems.values():
        system.stop()


def peak_megabytes(pid: int) -> float:
  """Returns the sum of the peak resident memory of a process and its children; shared pages are counted repeatedly."""
  total = 0
  for process in _tree(pid):
    try:
      for line in pathlib.Path(f'/proc/{process.pid}/status').read_text().splitlines():
        total += int(line.split()[1]) if line.startswith('VmHWM') else 0
    except (FileNotFoundError, ProcessLookupError):
      pass
  return total / 1024


def _tree(pid):
  try:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]
  except psutil.NoSuchProcess:
    return []


class _System:

  def __init__(self, name, python, work, log):
    self._command = [python, '-m', f'benchmarks.peers.{name}', work.name]
    self._images = work.images
    self._log = log
    self._process = None
    self._error = None
    self._turns = []

  def start(self):
    """Starts the system and waits for its first round."""
    with open(self._log, 'wb') as log:
      # In its own session, so that all processes that it starts can be found and ended.
      self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                       cwd=ROOT, text=True, start_new_session=True,
                                       env=os.environ | {'PYTHONPATH': str(ROOT)})
    started = time.perf_counter()
    first = self._answer()
    self._seconds_to_first = time.perf_counter() - started
    if first is not None and first['seconds'] < _LONG_ROUND:
      self._ask(0.0)  # The second round still allocates and compiles; in a long round, this time is negligible.
      self._answer()
    self._signal(signal.SIGSTOP)

  def take_turn(self, seconds):
    """Measures the system, which stands still between its turns: simulators poll while they wait."""
    if self._error is not None:
      return
    self._signal(signal.SIGCONT)
    before = self._cpu()
    self._ask(seconds)
    if (answer := self._answer()) is not None:
      images = answer['rounds'] * self._images
      self._turns.append((images / answer['seconds'], images / (self._cpu() - before)))
    self._signal(signal.SIGSTOP)

  def numbers(self):
    if self._error is not None:
      return {'error': self._error}
    walls, cpus = zip(*self._turns, strict=True)
    return {'images_per_second': statistics.median(walls), 'images_per_cpu_second': statistics.median(cpus),
            'images_per_second_of_turns': walls, 'images_per_cpu_second_of_turns': cpus,
            'peak_megabytes': peak_megabytes(self._process.pid), 'seconds_to_first_round': self._seconds_to_first}

  def stop(self):
    """Ends the system and all processes that it has started."""
    if self._process is None:
      return
    self._signal(signal.SIGKILL)
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()

  def _ask(self, seconds):
    try:
      self._process.stdin.write(f'{seconds}\n')
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # The missing answer will show it.

  def _answer(self):
    for line in self._process.stdout:
      if line.startswith('{"rounds"'):  # Libraries may print other lines before the answer.
        return json.loads(line)
    words = self._log.read_text(errors='replace').strip().splitlines()
    self._error = f'failed: {words[-1][:200] if words else "no message"}'
    return None

  def _signal(self, number):
    for process in self._tree():
      try:
        process.send_signal(number)
      except psutil.NoSuchProcess:
        pass

  def _tree(self):
    return _tree(self._process.pid)

  def _cpu(self):
    """Returns the CPU seconds so far of all processes; ended processes are included in their parents' time."""
    total = 0.0
    for process in self._tree():
      try:
        total += sum(process.cpu_times()[:4])
      except psutil.NoSuchProcess:
        pass
    return total

"""Runs the cells of a sweep, each in a process of its own, and reads how good they are."""

import csv
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from flags import groups, privacy_flags, runtime_flags
from pipelines import progress
from tff_vision import configs
from tff_vision.program import json_file, run_directory, sweep_cells, whole_file
from tff_vision.runtime.worker import processes

_GIGABYTES = 2  # Of memory, that one run of a small model needs with its executor.
_EVALUATION = 'evaluation/'


def directory(folder: pathlib.Path, cell: sweep_cells.Cell) -> run_directory.RunDirectory:
  """Returns the folder of a cell."""
  return run_directory.RunDirectory(folder / cell.name)


def tell(text: str) -> None:
  """Prints a line at once."""
  print(text, flush=True)


def advice(parallel: int, cells: int) -> str:
  """Returns how many runs at a time this machine bears, if that is another number; '' otherwise."""
  cores, free = len(os.sched_getaffinity(0)), psutil.virtual_memory().available / 2**30
  good = max(1, min(cores // 2, int(free / _GIGABYTES), cells))
  bears = f'this machine has {cores} cores and {free:.0f} GB of free memory, and a run needs two and about {_GIGABYTES}'
  if parallel > max(good, cores):
    return f'note: --parallel={parallel}: {bears}: more than {good} at a time slow each other down.'
  return f'note: {bears}: --parallel={good} would be quicker.' if parallel < good else ''


def evaluations(folder: pathlib.Path, cell: sweep_cells.Cell) -> dict[int, dict[str, float]]:
  """Returns round -> metrics on the test set, of the evaluated rounds of a cell; empty if it has not begun."""
  try:
    with open(directory(folder, cell).metrics, newline='') as file:
      rows = list(csv.DictReader(file))
  except OSError:
    return {}
  found = {}
  for row in rows:
    numbers = {name.removeprefix(_EVALUATION): float(value) for name, value in row.items()
               if name and name.startswith(_EVALUATION) and value}
    if numbers:
      found[int(float(row['round']))] = numbers
  return found


def trained(folder: pathlib.Path, cell: sweep_cells.Cell) -> int:
  """Returns the number of rounds that a cell has finished."""
  try:
    return max(0, len(directory(folder, cell).metrics.read_text().splitlines()) - 1)
  except OSError:
    return 0


def measured(folder: pathlib.Path, cell: sweep_cells.Cell, until: int | None = None) -> Mapping[str, float]:
  """Returns the metrics of a cell, of its end or of its last evaluation up to round `until`; empty: it has none."""
  report = directory(folder, cell).report_json
  if until is None and report.exists():
    found = json_file.with_numbers(json_file.read(report)['evaluation'])
    return {name: value for name, value in found.items() if isinstance(value, float)}
  known = {number: numbers for number, numbers in evaluations(folder, cell).items() if until is None or number <= until}
  return known[max(known)] if known else {}


def metric_of(cells: Sequence[sweep_cells.Cell], found: Sequence[Mapping[str, float]]) -> Any:
  """Returns the metric by which cells are compared: the first of their task that all have; None: there is none."""
  from tff_vision.objectives import metric
  from tff_vision.report import declared
  return metric.choosing(declared.of({'task': {'name': cells[0].config.task.task}}), [one for one in found if one])


def goodness(metric: Any, found: Mapping[str, float]) -> float:
  """Returns a number that is higher for a better cell; minus infinity if it has failed or diverged."""
  value = found.get(metric.name, math.nan) if metric is not None else math.nan
  return -math.inf if math.isnan(value) else metric.goodness(value)


class Runner:
  """Runs cells, several at a time; each is a process, so that all its memory is freed at its end."""

  def __init__(self, folder: pathlib.Path, launch_config: configs.LaunchConfig, *, parallel: int, cells: int,
               say: Callable[[str], None] = tell, charged: bool = True, timed: bool = True):
    """Initializes it.

    Args:
      folder: The folder of the sweep.
      cells: The number of runs, for the lines that say how many are done.
      say: Takes the lines.
      charged: Whether the runs are charged to a budget over several runs.
      timed: Whether lines may tell how much time is left.
    """
    self._folder = folder
    self._launch = launch_config
    self._parallel = parallel
    self._cells = cells
    self._say = say
    self._charged = charged
    self._left = progress.TimeLeft(cells) if timed else None
    self._done = 0

  def run(self, waiting: Sequence[sweep_cells.Cell], *, until: int | None = None) -> None:
    """Runs cells to their end, or until after round `until`."""
    waiting, running = list(waiting), {}
    if self._left is not None:
      self._left.measure(self._done)
    try:
      while waiting or running:
        while waiting and len(running) < self._parallel:
          cell = waiting.pop(0)
          running[cell.name] = cell, self._start(cell, until)
        time.sleep(0.2)
        self._show({name: process for name, (_, process) in running.items()})
        for name in [name for name, (_, process) in running.items() if process.exit_code is not None]:
          cell, process = running.pop(name)
          self._end(cell, process, until)
    finally:
      for _, process in running.values():
        process.close()

  def _start(self, cell, until):
    """Starts a cell by resuming it: a run that has a config but no checkpoints begins at round 1."""
    place = directory(self._folder, cell)
    if not place.config.exists():
      whole_file.write(place.config, configs.to_json(cell.config))
    passed = (*runtime_flags.GROUPS, *(privacy_flags.BUDGET_FILE if self._charged else ()))
    given = [argument for flag in groups.given(passed) for argument in flag.serialize().splitlines()]
    given += [f'--{name}' for name in ('keep_secrets', 'show_training_data') if getattr(self._launch, name)]
    if self._launch.tracker != 'none':
      kept = self._launch.tracker_dir or self._folder / 'tracking'
      given += [f'--tracker={self._launch.tracker}', f'--tracker_dir={kept}']
    given += [] if until is None else [f'--stop_after={until}']
    return processes.Process(
        [sys.executable, '-m', 'pipelines.train', '--resume', f'--run_dir={place.path}', *given],
        log=self._folder / f'{cell.name}.log', environment=os.environ)

  def _show(self, running):
    """Shows what runs, where a terminal reads it."""
    if sys.stderr.isatty() and self._say is tell:
      lines = [f'{name}: {(process.last_words().splitlines() or ["begins"])[-1]}' for name, process in running.items()]
      width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
      sys.stderr.write('\r' + ' | '.join(lines)[:width].ljust(width))
      sys.stderr.flush()

  def _end(self, cell, process, until):
    self._done += 1
    if sys.stderr.isatty() and self._say is tell:
      sys.stderr.write('\r\033[K')
    if process.exit_code:
      said = f'failed: {(process.last_words().splitlines() or [f"exit code {process.exit_code}"])[-1]}'
    else:
      metric = metric_of([cell], [found := measured(self._folder, cell, until)])
      value = '' if metric is None else f'{metric.name} {found[metric.name]:.4f}'
      said = ', '.join(filter(None, ('done' if until is None else f'round {until}', value)))
    if self._left is not None:
      self._left.measure(self._done)
      left = self._left.words()
      said += f'  left {left}' if left else ''
    self._say(f'[{self._done}/{self._cells}] {cell.name}: {said}')

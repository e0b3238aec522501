"""The ways to search a grid: every cell, successive halving, and proposals from results."""

import dataclasses
import math
import pathlib

import numpy as np
from absl import flags

from pipelines import cells
from tff_vision import configs, seeds, wording
from tff_vision.data.sources import installed
from tff_vision.program import halving, sweep_cells, tpe


@dataclasses.dataclass(frozen=True)
class Swept:
  """The cells of a sweep, and those that were stopped early, with the round after which that was."""
  made: list[sweep_cells.Cell]
  stopped: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
  """Where cells are run, and how many at a time."""
  folder: pathlib.Path
  launch: configs.LaunchConfig
  parallel: int

  def run_all(self, made: list[sweep_cells.Cell]) -> Swept:
    """Runs every cell."""
    self._prepare(made)
    waiting = [cell for cell in made if not finished(self.folder, cell)]
    cells.tell(f'{wording.counted(len(waiting), "cell")} to run.')
    if waiting:
      self._runner(waiting, len(waiting)).run(waiting)
    return Swept(made)

  def halve(self, made: list[sweep_cells.Cell], *, factor: int) -> Swept:
    """Runs cells for a few rounds, then the better of them for more; those that differ in the seed alone stay together.

    Raises:
      ValueError: The cells cannot be compared early.
    """
    programs = {(cell.config.program.rounds, cell.config.program.rounds_per_evaluation) for cell in made}
    if len(programs) > 1:
      raise ValueError('halving compares cells after equally many rounds: rounds and rounds_per_evaluation must not be '
                       'in the grid.')
    (rounds, step), = programs
    alike: dict[str, list[sweep_cells.Cell]] = {}
    for cell in made:
      alike.setdefault(repr([one for one in cell.settings.items() if one[0] != 'seed']), []).append(cell)
    rungs = halving.rungs(len(alike), rounds=rounds, factor=factor, step=step)
    if len(rungs) == 1:
      raise ValueError(f'halving={factor} has nothing to compare: {len(alike)} cells of {rounds} rounds, evaluated '
                       f'every {step}; more cells, or a smaller rounds_per_evaluation.')
    self._prepare(made)
    seeds_each = len(made) / len(alike)
    planned = halving.total_rounds(len(alike), rungs=rungs, factor=factor) * seeds_each
    cells.tell(f'{wording.counted(len(made), "cell")} to run, compared after rounds '
               f'{", ".join(map(str, rungs[:-1]))}: {planned:.0f} rounds instead of {len(made) * rounds}.')
    counts = [len(alike)]
    for _ in rungs[1:]:
      counts.append(math.ceil(counts[-1] / factor))
    runner = self._runner(made, round(sum(counts) * seeds_each))
    going, stopped = dict(alike), {}
    for rung in rungs:
      last = rung == rungs[-1]
      runner.run([cell for members in going.values() for cell in members if not finished(self.folder, cell) and
                  (last or cells.trained(self.folder, cell) < rung)], until=None if last else rung)
      if last:
        break
      found = {name: [cells.measured(self.folder, cell, rung) for cell in members] for name, members in going.items()}
      metric = cells.metric_of(made, [one for each in found.values() for one in each])
      kept = halving.survivors({name: float(np.mean([cells.goodness(metric, one) for one in each]))
                                for name, each in found.items()}, factor=factor)
      stopped |= {cell.name: rung for name, members in going.items() if name not in kept for cell in members}
      going = {name: members for name, members in going.items() if name in kept}
      cells.tell(f'after round {rung} {len(going)} of {len(found)} go on: '
                 f'{", ".join(members[0].name for members in going.values())}')
    return Swept(made, stopped)

  def propose(self, grid: tpe.Grid, base: configs.ExperimentConfig, *, number: int) -> Swept:
    """Runs cells one after the other, or as many at a time as run in parallel, each proposed from those before.

    Raises:
      ValueError: The grid has a setting that no result may choose, or a cell cannot be run.
    """
    for name in ('seed', 'rounds'):
      if name in grid:
        raise ValueError(f'grid names {name}, which --tpe would choose by its results like any other setting.')
    rng = np.random.default_rng(seeds.derive(base.program.seed, 'tpe'))
    made, tried, runner = [], [], None
    while len(made) < number:
      batch = []
      for _ in range(min(self.parallel, number - len(made))):
        # Cells under way count as bad, so that the same place is not proposed twice.
        settings = tpe.propose(grid, [*tried, *((cell.settings, -math.inf) for cell in batch)], rng)
        if settings is not None:
          batch += fitting([sweep_cells.cell(base, settings)], grid)
      if not batch:
        cells.tell(f'the grid has {wording.counted(len(made), "cell")}, all of which have run.')
        break
      self._prepare(batch)
      runner = runner or self._runner(batch, number)
      runner.run([cell for cell in batch if not finished(self.folder, cell)])
      made += batch
      found = [cells.measured(self.folder, cell) if finished(self.folder, cell) else {} for cell in made]
      metric = cells.metric_of(made, found)
      tried = [(cell.settings, cells.goodness(metric, one)) for cell, one in zip(made, found, strict=True)]
    return Swept(made)

  def _prepare(self, made):
    """Checks that cells can run: their data are on this machine, and their folders are new or theirs."""
    for cell in made:
      installed.require(cell.config.data)
      directory = cells.directory(self.folder, cell)
      directory.check_usable(cell.config, resume=directory.config.exists())

  def _runner(self, made, number):
    if note := cells.advice(self.parallel, len(made)):
      print(note, flush=True)
    return cells.Runner(self.folder, self.launch, parallel=self.parallel, cells=number,
                        timed=not any(cell.config.promises for cell in made))


def finished(folder: pathlib.Path, cell: sweep_cells.Cell) -> bool:
  """Returns whether a cell has its report."""
  return cells.directory(folder, cell).report_json.exists()


def fitting(made: list[sweep_cells.Cell], grid: tpe.Grid) -> list[sweep_cells.Cell]:
  """Returns the cells, with a cohort of all clients where there are fewer than its default."""
  if flags.FLAGS['cohort_size'].present or 'cohort_size' in grid:
    return made
  return [dataclasses.replace(cell, config=configs.with_fewer_clients(cell.config)) for cell in made]

"""Trains one run for each cell of a grid, for random draws from it, or for cells that results propose.

    python -m pipelines.sweep --dataset=digits --rounds=20 --run_dir=runs/lr \\
        --grid='client_learning_rate=0.01,0.03,0.1;client_epochs=1,2'
    python -m pipelines.sweep --dataset=digits --rounds=27 --rounds_per_evaluation=3 --run_dir=runs/halving \\
        --grid='client_learning_rate=0.01,0.03,0.1;client_epochs=1,2,4' --halving=3
    python -m pipelines.sweep --flagfile=pipelines/recipes/fashion_mnist_fedavg.flags --run_dir=runs/random \\
        --grid='client_learning_rate=0.01..1;batch_size=8..64;seed=0,1,2' --random=20 --parallel=2

Every cell is a run directory of its own below --run_dir; `python -m pipelines.watch` shows them while they train. The
same command again finishes what is missing: finished cells stay as they are, a cell that was under way continues from
its last round. At the end: a table, sweep.html and sweep.json. Cells are ranked by the metric on the test set, so
report the chosen one from a fresh seed. --halving stops bad cells early, --tpe proposes cells from the results of
those before. With --budget_file every cell is charged to a budget over several runs, a stopped one for the rounds that
it trained; --random_runs makes a choice among private runs that costs less than all of them;
docs/explanation/privacy.md has both.
"""

import dataclasses
import os
import pathlib
import signal
import sys
import tempfile

from absl import flags

from flags import experiment_flags, privacy_flags, runtime_flags
from pipelines import cells, launch, search
from tff_vision import trackers, wording
from tff_vision.configs import validate
from tff_vision.data.sources import installed
from tff_vision.program import json_file, run_directory, sweep_cells

_GRID = flags.DEFINE_string('grid', None,
                            'name=value,value;name=value: settings of runs. With --random or --tpe also low..high.')
_RANDOM = flags.DEFINE_integer('random', None, 'Draw so many cells instead of all combinations.')
_TPE = flags.DEFINE_integer(
    'tpe', None, 'Run so many cells, each proposed from the results before it (tree-structured Parzen estimator).')
_HALVING = flags.DEFINE_integer(
    'halving', None, 'Stop bad cells early: one in so many goes on, with so many times the rounds (successive halving; '
    '3 is usual). Cells are compared at evaluations.')
_RANDOM_RUNS = flags.DEFINE_float(
    'random_runs', None, 'Run a random number of random cells, of this mean, and keep nothing but the best model: its '
    'epsilon covers the choice.')
_PARALLEL = flags.DEFINE_integer('parallel', 1, 'Runs at a time; one needs two cores and about 2 GB of memory.')
_HIDDEN = 'hidden-'  # How the folder's name begins in which the runs of a choice lie.


def main() -> None:
  launch_config = experiment_flags.launch_config()
  _check(launch_config)
  runtime_flags.chosen_runtime()
  budget, folder = privacy_flags.budget_file(), pathlib.Path(launch_config.run_dir)
  if run_directory.RunDirectory(folder).config.exists():
    raise ValueError(f'run_dir={str(folder)!r} holds a run; a sweep needs a folder of its own, with a run in it for '
                     'each cell.')
  grid = sweep_cells.parse(_GRID.value)
  base = _base(grid)
  runs = search.Search(folder=folder, launch=launch_config, parallel=_PARALLEL.value)
  if _TPE.value is not None:
    swept = runs.propose(grid, base, number=_TPE.value)
  else:
    made = search.fitting(sweep_cells.make(base, grid, draws=_RANDOM.value), grid)
    if len(tasks := {cell.config.task.task for cell in made}) > 1:
      raise ValueError(f'grid: cells of task={" and ".join(sorted(tasks))} have no metric by which one could be best.')
    if _RANDOM_RUNS.value is not None:
      _choose(folder, made, launch_config)
      return
    swept = runs.run_all(made) if _HALVING.value is None else runs.halve(made, factor=_HALVING.value)
  if budget.budget_file is None and any(cell.config.privacy.privacy != 'none' for cell in swept.made):
    print('note: each cell has a ledger of its own, and a choice among them costs what they cost together: '
          '--budget_file states it, --random_runs costs less.')
  if not launch_config.keep_secrets:
    _wipe(folder, swept)
  _conclude(folder, swept, launch_config)


def _base(grid):
  """Returns the config of the settings that the grid does not name, with its first values where one is needed.

  Raises:
    ValueError: What the flags say is illegal, whatever the grid says.
  """
  try:
    return experiment_flags.experiment_config()
  except ValueError as error:
    for name, values in grid.items():
      flag = flags.FLAGS[name]
      if not flag.present:
        flag.value, flag.present = values.low if isinstance(values, sweep_cells.Range) else values[0], 1
    try:
      return experiment_flags.experiment_config()
    except ValueError:
      raise error from None


def _check(launch_config):
  """Refuses flags that do not go together."""
  if _GRID.value is None:
    raise ValueError('grid is missing: --grid=\'client_learning_rate=0.01,0.1;client_epochs=1,2\'.')
  given = {name: value for name, value in (
      ('parallel', _PARALLEL.value), ('random', _RANDOM.value), ('tpe', _TPE.value), ('halving', _HALVING.value))
      if value is not None}
  validate.positive(**given)
  if _HALVING.value == 1:
    raise ValueError('halving=1 stops no cell; 3 is usual.')
  if launch_config.run_dir is None:
    raise ValueError('run_dir is missing: the folder of the sweep, which the same command finds again to continue.')
  trackers.check(launch_config.tracker)
  for name in ('resume', 'stop_after'):
    if flags.FLAGS[name].present and flags.FLAGS[name].value:
      raise ValueError(f'{name}={flags.FLAGS[name].value!r} has no effect here: the same command continues a sweep.')
  if _TPE.value is not None and (other := [name for name in ('random', 'halving') if name in given]):
    raise ValueError(f'tpe does not go with {other[0]}: it chooses cells by their final results.')
  if _RANDOM_RUNS.value is not None:
    others = [*(name for name in ('tpe', 'halving') if name in given),
              *(['tracker'] if launch_config.tracker != 'none' else [])]
    if others:
      raise ValueError(f'random_runs does not go with {others[0]}: what it costs is known only if every run is drawn '
                       'independently of the others, trained to its end, and shown to nobody.')


def _wipe(folder, swept):
  """Wipes the secrets of cells that do not go on: those killed after their report, and those stopped early."""
  for cell in swept.made:
    directory = cells.directory(folder, cell)
    if cell.config.promises and (directory.report_json.exists() or cell.name in swept.stopped):
      if directory.secrets.exists() or directory.report_json.exists():
        with directory.opened(cell.config):
          directory.wipe()


def _choose(folder, made, launch_config):
  """Shows the best model of a random number of runs and the privacy cost of the choice; all else stays hidden."""
  if folder.exists() and any(folder.iterdir()):
    left = [path.name for path in folder.glob(f'{_HIDDEN}*')]
    raise ValueError(f'run_dir={str(folder)!r} is not empty: a choice is made in one go, in a folder of its own.' + (
        f' {left[0]} is what a choice that was killed has left. Nobody may look at its runs: delete it.' if left
        else ''))
  for cell in made:
    installed.require(cell.config.data)
  from tff_vision.experiment import choice as choice_lib
  from tff_vision.runtime.device import visible
  visible.choose(('CPU',), None)  # Only plans are made here: the devices are for the processes of the cells.
  planned, budget = [cell.config for cell in made], privacy_flags.budget_file()
  choice_lib.check(planned, mean=_RANDOM_RUNS.value, runtime=runtime_flags.chosen_runtime())
  choice = choice_lib.Choice(planned, mean=_RANDOM_RUNS.value, budget=budget, run_dir=folder)
  drawn = [dataclasses.replace(made[cell], name=str(number)) for number, cell in enumerate(choice.draw())]
  print('Runs as many cells as were drawn; their number and what becomes of each is told nobody.', flush=True)
  folder.mkdir(parents=True, exist_ok=True)
  signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # As an exception: what is hidden is deleted.
  with tempfile.TemporaryDirectory(dir=folder, prefix=_HIDDEN) as hidden:
    hidden = pathlib.Path(hidden)
    cells.Runner(hidden, launch_config, parallel=_PARALLEL.value, cells=len(drawn), say=lambda text: None,
                 charged=False).run(drawn)
    finished = [cell for cell in drawn if search.finished(hidden, cell)]
    best = choice.conclude([json_file.read(cells.directory(hidden, cell).report_json) for cell in finished])
    os.replace(cells.directory(hidden, finished[best.position]).export, folder / 'export')
  content = {'chosen': dict(finished[best.position].settings), **best.content}
  for path in (folder / 'sweep.json', launch_config.json):
    if path is not None:
      json_file.write(path, content)
  metric = content['metric']
  print(f'chosen: {content["chosen"]}, {metric} {content["evaluation"][metric]:.4f}; the choice costs '
        f'{best.cost.sentence()}\nmodel: {folder / "export" / "model.keras"}')
  if best.totals is not None:
    print(best.totals.sentence(budget.budget_file))


def _totals(budget):
  """Returns the cost of all runs on the budget: every cell is charged, so the budget also covers the chosen one."""
  if budget.budget_file is None:
    return None
  from tff_vision.accounting import budget_file
  return budget_file.BudgetFile(budget).totals()


def _conclude(folder, swept, launch_config):
  budget = privacy_flags.budget_file()
  from tff_vision.report import number_format, run_comparison
  made = swept.made
  finished = [cell for cell in made if search.finished(folder, cell)]
  if not finished:
    raise ValueError(f'no cell has finished; their logs are in {folder}.')
  groups = run_comparison.read([str(folder / cell.name) for cell in finished])
  chosen = ', '.join(f'{name}={value}' for name, value in finished[0].settings.items() if name != 'seed')
  if len(groups) == 1 and chosen:  # Nothing tells it from others, of which none has finished.
    groups = run_comparison.named(groups, [chosen])
  rows = run_comparison.summary(groups)
  metric = run_comparison.choosing(groups)
  if metric is None:
    raise ValueError(f'the cells in {folder} have no metric in common by which one could be best.')

  from tff_vision.report import run_comparison_figures
  best = rows[run_comparison_figures.best_row(rows, metric)]
  for row in rows:
    print(f'{row["group"]}: {metric.name} {number_format.spread(metric, row.get(metric.name))}  ('
          f'{wording.counted(row["runs"], "run")})')
  print(f'best by {metric.name} on the test set: {best["group"]}')
  if swept.stopped:
    print(f'{len(swept.stopped)} of {len(made)} cells were stopped early.')
  run_comparison.write_html(folder / 'sweep.html', groups, title=f'Sweep of {wording.counted(len(finished), "run")}',
                            figures=run_comparison_figures.sweep(rows, metric=metric))
  totals = _totals(budget)
  content = {'metric': metric.name, 'best': best['group'], 'groups': rows,
             'unfinished': [cell.name for cell in made if cell not in finished and cell.name not in swept.stopped],
             'stopped': [_stopped(folder, cell, swept.stopped[cell.name]) for cell in made
                         if cell.name in swept.stopped],
             'rounds': sum(cells.trained(folder, cell) for cell in made),
             'rounds_of_all_cells': sum(cell.config.program.rounds for cell in made),
             'budget_file': totals and totals.to_dict()}
  json_file.write(folder / 'sweep.json', content)
  if launch_config.json is not None:
    json_file.write(launch_config.json, content)
  if totals is not None:
    print(f'{totals.sentence(budget.budget_file)}; the choice among them is paid with them.')
  print(f'page: {folder / "sweep.html"}')
  if content['unfinished']:
    raise ValueError(f'{len(content["unfinished"])} of {len(made)} cells have not finished, the first is '
                     f'{content["unfinished"][0]}; their logs are in {folder}.')


def _stopped(folder, cell, rung):
  """Returns what is known of a cell that was stopped after a round."""
  return {'cell': cell.name, 'rounds': cells.trained(folder, cell), 'evaluation': cells.measured(folder, cell, rung)}


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*experiment_flags.GROUPS, *runtime_flags.GROUPS, *privacy_flags.BUDGET_FILE))

"""Trains one run for each cell of a grid, or for random draws from it; resumes where a kill left it.

    python -m pipelines.sweep --dataset=digits --rounds=20 --run_dir=sweeps/lr \\
        --grid='client_learning_rate=0.01,0.03,0.1;client_epochs=1,2'
    python -m pipelines.sweep --flagfile=pipelines/recipes/fashion_mnist_fedavg.flags --run_dir=sweeps/random \\
        --grid='client_learning_rate=0.01..1;batch_size=8..64;seed=0,1,2' --random=20 --parallel=2

Every cell is a run directory of its own below --run_dir. The same command again finishes what is missing: finished
cells stay as they are, a cell that was under way continues from its last round. At the end: a table, sweep.html and
sweep.json. Cells are ranked by the metric on the test set, so report the chosen one from a fresh seed. With
--budget_file every cell is charged to a budget over several runs; --random_runs makes a choice among private runs that
costs less than all of them; docs/explanation/privacy.md has both.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile
import time

from absl import flags

from flags import experiment_flags, groups, privacy_flags, runtime_flags
from pipelines import launch
from tff_vision import configs
from tff_vision.configs import validate
from tff_vision.data.sources import installed
from tff_vision.program import json_file, run_directory, sweep_cells, whole_file
from tff_vision.runtime.worker import processes

_GRID = flags.DEFINE_string('grid', None,
                            'name=value,value;name=value: settings of runs. With --random also low..high.')
_RANDOM = flags.DEFINE_integer('random', None, 'Draw so many cells instead of all combinations.')
_RANDOM_RUNS = flags.DEFINE_float(
    'random_runs', None, 'Run a random number of random cells, of this mean, and keep nothing but the best model: its '
    'epsilon covers the choice.')
_PARALLEL = flags.DEFINE_integer('parallel', 1, 'Runs at a time.')


def main() -> None:
  if _GRID.value is None:
    raise ValueError('grid is missing: --grid=\'client_learning_rate=0.01,0.1;client_epochs=1,2\'.')
  validate.positive(parallel=_PARALLEL.value)
  if _RANDOM.value is not None:
    validate.positive(random=_RANDOM.value)
  launch_config = experiment_flags.launch_config()
  if launch_config.run_dir is None:
    raise ValueError('run_dir is missing: the folder of the sweep, which the same command finds again to continue.')
  runtime_flags.chosen_runtime()
  privacy_flags.budget_file()
  folder = pathlib.Path(launch_config.run_dir)
  if run_directory.RunDirectory(folder).config.exists():
    raise ValueError(f'run_dir={str(folder)!r} holds a run; a sweep needs a folder of its own, with a run in it for '
                     'each cell.')
  made = sweep_cells.make(experiment_flags.experiment_config(), sweep_cells.parse(_GRID.value), draws=_RANDOM.value)
  if len(tasks := {cell.config.task.task for cell in made}) > 1:
    raise ValueError(f'grid: cells of task={" and ".join(sorted(tasks))} have no metric by which one could be best.')
  if _RANDOM_RUNS.value is not None:
    _choose(folder, made, launch_config)
    return
  for cell in made:
    _prepare(folder, cell)
  _run([cell for cell in made if not _directory(folder, cell).report_json.exists()], folder, launch_config)
  if not launch_config.keep_secrets:
    _wipe(folder, made)
  _conclude(folder, made, launch_config)


def _directory(folder, cell):
  return run_directory.RunDirectory(folder / cell.name)


def _prepare(folder, cell):
  """Checks that a cell can run: its data is on this machine, and its folder is new or belongs to this cell."""
  installed.require(cell.config.data)
  directory = _directory(folder, cell)
  directory.check_usable(cell.config, resume=directory.config.exists())


def _wipe(folder, made):
  """Finishes the wiping of cells that were killed after their report was written but before they ended."""
  for cell in made:
    directory = _directory(folder, cell)
    if cell.config.promises and directory.report_json.exists():
      with directory.opened(cell.config):
        directory.wipe()


def _tell(text):
  print(text, flush=True)


def _run(waiting, folder, launch_config, *, tell=_tell, charged=True):
  """Runs cells, several at a time; each runs in a separate process, so that all its memory is freed at its end."""
  tell(f'{len(waiting)} cells to run.')
  running, total = {}, len(waiting)
  try:
    while waiting or running:
      while waiting and len(running) < _PARALLEL.value:
        cell = waiting.pop(0)
        running[cell.name] = _start(folder, cell, launch_config, charged)
      time.sleep(0.2)
      for name in [name for name, process in running.items() if process.exit_code is not None]:
        process = running.pop(name)
        tell(f'[{total - len(waiting) - len(running)}/{total}] {name}: '
             f'{"done" if process.exit_code == 0 else _reason(process)}')
  finally:
    for process in running.values():
      process.close()


def _start(folder, cell, launch_config, charged):
  """Starts a cell by resuming it: a run that has a config but no checkpoints begins at round 1."""
  directory = _directory(folder, cell)
  if not directory.config.exists():
    whole_file.write(directory.config, configs.to_json(cell.config))
  passed = (*runtime_flags.GROUPS, *(privacy_flags.BUDGET_FILE if charged else ()))
  given = [argument for flag in groups.given(passed) for argument in flag.serialize().splitlines()]
  given += [f'--{name}' for name in ('keep_secrets', 'show_training_data') if getattr(launch_config, name)]
  return processes.Process(
      [sys.executable, '-m', 'pipelines.train', '--resume', f'--run_dir={directory.path}', *given],
      log=folder / f'{cell.name}.log', environment=os.environ)


def _choose(folder, made, launch_config):
  """Shows the best model of a random number of runs and the privacy cost of the choice; all else stays hidden."""
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(f'run_dir={str(folder)!r} is not empty: a choice is made in one go, in a folder of its own.')
  for cell in made:
    installed.require(cell.config.data)
  from tff_vision.experiment import choice as choice_lib
  cells, budget = [cell.config for cell in made], privacy_flags.budget_file()
  choice_lib.check(cells, mean=_RANDOM_RUNS.value, runtime=runtime_flags.chosen_runtime())
  choice = choice_lib.Choice(cells, mean=_RANDOM_RUNS.value, budget=budget, run_dir=folder)
  drawn = [dataclasses.replace(made[cell], name=str(number)) for number, cell in enumerate(choice.draw())]
  print('Runs as many cells as were drawn; their number and what becomes of each is told nobody.', flush=True)
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=folder, prefix='hidden-') as hidden:
    hidden = pathlib.Path(hidden)
    _run(list(drawn), hidden, launch_config, tell=lambda text: None, charged=False)
    finished = [cell for cell in drawn if _directory(hidden, cell).report_json.exists()]
    best = choice.conclude([json_file.read(_directory(hidden, cell).report_json) for cell in finished])
    os.replace(_directory(hidden, finished[best.position]).export, folder / 'export')
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


def _reason(process):
  return f'failed: {(process.last_words().splitlines() or [f"exit code {process.exit_code}"])[-1]}'


def _conclude(folder, made, launch_config):
  budget = privacy_flags.budget_file()
  from tff_vision.report import number_format, run_comparison
  finished = [cell for cell in made if _directory(folder, cell).report_json.exists()]
  if not finished:
    raise ValueError(f'no cell has finished; their logs are in {folder}.')
  groups = run_comparison.read([str(folder / cell.name) for cell in finished])
  rows = run_comparison.summary(groups)
  metric = run_comparison.choosing(groups)
  if metric is None:
    raise ValueError(f'the cells in {folder} have no metric in common by which one could be best.')

  from tff_vision.report import run_comparison_figures
  best = rows[run_comparison_figures.best_row(rows, metric)]
  for row in rows:
    print(f'{row["group"]}: {metric.name} {number_format.spread(metric, row[metric.name])}  ({row["runs"]} '
          f'run{"s" * (row["runs"] > 1)})')
  print(f'best by {metric.name} on the test set: {best["group"]}')
  run_comparison.write_html(folder / 'sweep.html', groups, title=f'Sweep of {len(finished)} runs',
                            figures=run_comparison_figures.sweep(rows, metric=metric))
  totals = _totals(budget)
  content = {'metric': metric.name, 'best': best['group'], 'groups': rows,
             'unfinished': [cell.name for cell in made if cell not in finished],
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


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*experiment_flags.GROUPS, *runtime_flags.GROUPS, *privacy_flags.BUDGET_FILE))

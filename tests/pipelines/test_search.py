"""Searches over a grid with runs that only pretend: which cells go on, what is not run again, what is said."""

import json

import pytest
from absl import flags

from flags import experiment_flags, groups
from pipelines import cells, search
from tff_vision import configs
from tff_vision.program import sweep_cells

BASE = configs.ExperimentConfig(program=configs.ProgramConfig(rounds=9, rounds_per_evaluation=1))


class Pretended:
  """Runs a cell by writing what a run would: its accuracy is its learning rate, and worse for each earlier round."""
  ran: list = []
  failing: tuple = ()

  def __init__(self, folder, launch, *, parallel, cells, timed):
    del launch, parallel, cells, timed
    self._folder = folder

  def run(self, waiting, *, until=None):
    for cell in waiting:
      Pretended.ran.append((cell.name, until))
      rounds, config = until or cell.config.program.rounds, cell.config
      place = self._folder / cell.name
      place.mkdir(parents=True, exist_ok=True)
      (place / 'config.json').write_text(configs.to_json(config))
      if cell.name in Pretended.failing:
        continue
      accuracy = config.client.client_learning_rate + 0.01 * config.program.seed
      rows = [f'{number},{accuracy * number / 10}' for number in range(1, rounds + 1)]
      (place / 'metrics.csv').write_text('\n'.join(['round,evaluation/accuracy', *rows, '']))
      if until is None:
        (place / 'report.json').write_text(json.dumps({'evaluation': {'accuracy': accuracy}}))


@pytest.fixture
def searched(tmp_path, monkeypatch):
  """Returns the search in a folder; runs are pretended."""
  groups.define(experiment_flags.GROUPS)
  if not flags.FLAGS.is_parsed():
    flags.FLAGS(['test'])
  Pretended.ran, Pretended.failing = [], ()
  monkeypatch.setattr(cells, 'Runner', Pretended)
  monkeypatch.setattr(cells, 'advice', lambda *_: '')
  return search.Search(folder=tmp_path, launch=configs.LaunchConfig(run_dir=str(tmp_path)), parallel=2)


def made(grid, base=BASE):
  return sweep_cells.make(base, sweep_cells.parse(grid), draws=None)


def test_halving_goes_on_with_the_best_third_and_seeds_stay_together(searched, capsys):
  grid = 'client_learning_rate=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9;seed=0,1'
  Pretended.failing = ('client_learning_rate=0.9,seed=1',)  # A cell that failed takes its other seed with it.
  swept = searched.halve(made(grid), factor=3)
  by_rung = {}
  for name, until in Pretended.ran:
    by_rung.setdefault(until, []).append(name)
  assert len(by_rung[1]) == 18
  assert by_rung[3] == [f'client_learning_rate={rate},seed={seed}' for rate in (0.6, 0.7, 0.8) for seed in (0, 1)]
  assert by_rung[None] == ['client_learning_rate=0.8,seed=0', 'client_learning_rate=0.8,seed=1']
  assert swept.stopped['client_learning_rate=0.1,seed=0'] == 1 and swept.stopped['client_learning_rate=0.7,seed=1'] == 3
  assert len(swept.stopped) == 16 and '18 cells to run, compared after rounds 1, 3: 42 rounds instead of 162.' in (
      capsys.readouterr().out)
  # The same command again: nothing but what failed is run, and the same cells go on.
  Pretended.ran = []
  assert searched.halve(made(grid), factor=3).stopped == swept.stopped
  assert Pretended.ran == [('client_learning_rate=0.9,seed=1', 1)]


def test_halving_refuses_what_cannot_be_compared(searched):
  with pytest.raises(ValueError, match='rounds and rounds_per_evaluation must not'):
    searched.halve(made('rounds=3,9'), factor=3)
  with pytest.raises(ValueError, match='nothing to compare: 2 cells of 9 rounds, evaluated every 1'):
    searched.halve(made('client_epochs=1,2'), factor=3)


def test_proposals_go_on_from_what_is_there(searched):
  grid = sweep_cells.parse('client_learning_rate=0.01..0.9;client_epochs=1,2')
  swept = searched.propose(grid, BASE, number=8)
  assert len(swept.made) == 8 == len({cell.name for cell in swept.made}) and not swept.stopped
  first, Pretended.ran = list(Pretended.ran), []
  assert [cell.name for cell in searched.propose(grid, BASE, number=8).made] == [name for name, _ in first]
  assert not Pretended.ran
  assert len(searched.propose(sweep_cells.parse('client_epochs=1,2,3'), BASE, number=9).made) == 3
  with pytest.raises(ValueError, match='seed'):
    searched.propose(sweep_cells.parse('seed=0,1'), BASE, number=2)


def test_a_cohort_becomes_as_small_as_the_number_of_clients_unless_it_is_chosen(searched):
  grid = sweep_cells.parse('num_clients=3,30')
  assert [cell.config.cohort.cohort_size for cell in search.fitting(made('num_clients=3,30'), grid)] == [3, 10]
  both = sweep_cells.parse('num_clients=3;cohort_size=10')
  assert search.fitting(made('num_clients=3;cohort_size=10'), both)[0].config.cohort.cohort_size == 10


def test_advice_names_what_the_machine_bears(monkeypatch):
  memory = lambda gigabytes: type('Memory', (), {'available': gigabytes * 2**30})
  monkeypatch.setattr(cells.os, 'sched_getaffinity', lambda _: range(8))
  monkeypatch.setattr(cells.psutil, 'virtual_memory', lambda: memory(64))
  assert '--parallel=4 would be quicker' in cells.advice(1, 12) and '--parallel=2 would' in cells.advice(1, 2)
  assert cells.advice(4, 12) == '' and 'more than 4 at a time' in cells.advice(9, 12)
  monkeypatch.setattr(cells.psutil, 'virtual_memory', lambda: memory(5))
  assert '--parallel=2 would be quicker' in cells.advice(1, 12)

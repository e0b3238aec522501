"""A sweep's cells: what a grid means, that draws repeat, and that mistakes are named."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.program import sweep_cells

BASE = configs.ExperimentConfig()


def test_a_grid_is_all_combinations_with_the_types_of_the_fields():
  grid = sweep_cells.parse('client_learning_rate=0.1, 1;client_epochs=1,2;num_clients=none,7;flip=true;model=mlp')
  assert grid == {'client_learning_rate': [0.1, 1.0], 'client_epochs': [1, 2], 'num_clients': [None, 7],
                  'flip': [True], 'model': ['mlp']}
  made = sweep_cells.make(BASE, grid, draws=None)
  assert [(c.config.client.client_learning_rate, c.config.client.client_epochs, c.config.data.num_clients)
          for c in made] == list(itertools.product([0.1, 1.0], [1, 2], [None, 7]))
  assert all(c.config.data.flip is True and c.config.program == BASE.program for c in made)
  assert len({c.name for c in made}) == 8 and made[0].name == (
      'client_learning_rate=0.1,client_epochs=1,num_clients=None,flip=True,model=mlp')


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_draws_are_distinct_legal_and_a_function_of_the_seed(seed, draws):
  base = configs.ExperimentConfig(program=configs.ProgramConfig(seed=seed))
  grid = sweep_cells.parse('client_learning_rate=0.01..1;batch_size=8..64;client_epochs=1,2')
  made = sweep_cells.make(base, grid, draws=draws)
  assert made == sweep_cells.make(base, grid, draws=draws) and len({c.name for c in made}) == draws
  for cell in made:
    assert 0.01 <= cell.config.client.client_learning_rate <= 1 and 8 <= cell.config.client.batch_size <= 64
  plain = sweep_cells.make(base, sweep_cells.parse('client_epochs=1,2,3;batch_size=5,6'), draws=draws)
  assert len({c.name for c in plain}) == min(draws, 6)


@pytest.mark.parametrize(('grid', 'named'), [
    ('nonsense=1', 'nonsense'), ('run_dir=x', 'run_dir'), ('rounds=many', 'many'), ('rounds', 'rounds'),
    ('rounds=', 'rounds'), ('', 'empty'), ('rounds=1;rounds=2', 'twice'), ('client_learning_rate=1..0.1', '1..0.1'),
    ('client_learning_rate=0..1', '0..1'), ('rounds=1,', 'rounds'), ('client_learning_rate=1..inf', '1..inf'),
    ('rounds=1..99999999999999999999', 'rounds')])
def test_a_bad_grid_is_named(grid, named):
  with pytest.raises(ValueError, match='grid') as error:
    sweep_cells.parse(grid)
  assert named in str(error.value)


def test_an_illegal_cell_and_a_range_without_draws_are_named():
  with pytest.raises(ValueError, match='cell rounds=0: rounds must be positive'):
    sweep_cells.make(BASE, sweep_cells.parse('rounds=3,0'), draws=None)
  with pytest.raises(ValueError, match='rounds.*--random'):
    sweep_cells.make(BASE, sweep_cells.parse('rounds=3..9'), draws=None)


def test_long_names_stay_short_and_distinct():
  grid = sweep_cells.parse('data_dir=' + ','.join('/very' * 60 + f'/{i}' for i in range(3)))
  names = {cell.name for cell in sweep_cells.make(BASE, grid, draws=None)}
  assert len(names) == 3 and all(len(name) < 200 and '/' not in name for name in names)
  grid = sweep_cells.parse('data_dir=' + ','.join('日' * 70 + f'{i}' for i in range(2)))
  assert all(len(cell.name.encode()) < 200 for cell in sweep_cells.make(BASE, grid, draws=None))


def test_settings_that_differ_have_folders_that_differ():
  grid = sweep_cells.parse('data_dir=films/a,films_a,films:a')
  assert len({cell.name for cell in sweep_cells.make(BASE, grid, draws=None)}) == 3

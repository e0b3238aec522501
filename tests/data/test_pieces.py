"""Clients in arrays are what lists of clients are, and a hundred times as many need no more Python objects."""

import dataclasses
import functools
import gc
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import generated_clients
from tff_vision import configs
from tff_vision.data import build, clients, examples, pieces
from tff_vision.data.sources import pool
from tff_vision.experiment import planning

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6)


def lists(found):
  return [own.tolist() for own in found]


@given(LISTS, LISTS, st.data())
def test_pieces_are_the_lists_that_they_stand_for(given_lists, others, data):
  made, more = pieces.Pieces.of(given_lists), pieces.Pieces.of(others)
  assert len(made) == len(given_lists) and lists(made) == given_lists == [made[i].tolist() for i in range(len(made))]
  assert made.sizes.tolist() == list(map(len, given_lists)) and pieces.Pieces.of(made) is made
  assert made.owners().tolist() == [i for i, own in enumerate(given_lists) for _ in own]
  assert lists(made.sorted()) == list(map(sorted, given_lists))
  assert lists(made.followed_by(more)) == [*given_lists, *others]
  kept = made.where(made.values % 2 == 1)
  assert lists(kept) == [[value for value in own if value % 2] for own in given_lists]
  chosen = data.draw(st.lists(st.integers(-1, len(made) - 1)))
  assert lists(made.take(np.array(chosen, int))) == [[] if i < 0 else given_lists[i] for i in chosen]
  start, step = data.draw(st.integers(-7, 7)), data.draw(st.sampled_from([-2, -1, 1, 3]))
  assert lists(made[start::step]) == given_lists[start::step]
  same = pieces.Pieces.of([others[i % len(others)] if others else [] for i in range(len(made))])
  assert lists(made.beside(same)) == [[*a, *b] for a, b in zip(given_lists, lists(same), strict=True)]
  assert lists(pieces.Pieces.nothing(3)) == [[], [], []]


def test_sizes_that_are_not_those_of_the_values_are_refused():
  with pytest.raises(ValueError, match='3 values'):
    pieces.Pieces(np.arange(3), [1, 1])


@given(st.lists(st.text('ab \u00fc', max_size=4), max_size=6),
       st.lists(st.text('a0', min_size=1, max_size=9), max_size=3))
def test_names_are_the_names_that_they_stand_for(names, others):
  made = pieces.Names.of(names)
  assert made == names == list(made) and names == made and made == pieces.Names.of(names) and len(made) == len(names)
  assert made != [*names, 'x'] and made[1:] == names[1:] and all(type(name) is str for name in made)
  assert made.followed_by(others) == [*names, *others]


def test_entries_are_made_when_they_are_read():
  asked = []
  made = pieces.Made(lambda client: (asked.append(client), -client)[1], range(0, 10**9, 10))
  assert len(made) == 10**8 and not asked
  assert made[3] == -30 and list(made[1:3]) == [-10, -20] and asked == [30, 10, 20]
  few = pieces.Made(str, range(5, 9)).take(np.array([2, 0]))
  assert list(few) == ['7', '5'] and len(few) == 2


@pytest.mark.parametrize('count', [0, 1, 10, 11, 1000])
def test_numbered_names_have_one_width(count):
  width = len(str(max(0, count - 1)))
  assert pieces.Names.numbered('client_', count) == [f'client_{i:0{width}d}' for i in range(count)]


@dataclasses.dataclass(frozen=True, eq=False)
class Repeated:
  """Any number of examples, all alike except for their classes."""
  y: np.ndarray
  shape = (2, 2, 1)

  def __len__(self):
    return len(self.y)

  def take(self, indices):
    return examples.Examples(np.zeros((len(indices), *self.shape), np.uint8), self.y[indices])


def divided(partition, count):
  """Returns so many clients of a pool with three examples for each."""
  y = np.arange(3 * count, dtype=np.int32) % 2
  owners = np.char.add('c', np.char.zfill((np.arange(3 * count) // 3).astype(str), 6))
  source = pool.Pool(train=Repeated(y), test=Repeated(y[:20]), class_names=('a', 'b'), train_owners=owners)
  found = build.registry.Source(about='', load=lambda config: source, locate=None)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(build.registry, 'find', lambda name: found)
    return build.build(configs.DataConfig(dataset='digits', partition=partition, num_clients=count), seed=0)


def generated(count):
  return generated_clients.images(configs.DataConfig(dataset='x', num_clients=count))


def planned(found, privacy):
  """Returns the plan of a run over these clients."""
  import tff_vision as tv
  chosen = {'privacy': tv.ClientGaussian(clip_norm=1.0, noise_multiplier=1.0)} if privacy else {}
  made = tv.Experiment(tv.Task(found, model='linear'), participation=tv.Poisson(50), rounds=2, **chosen)
  return planning.build_plan(made.config, made.problem, secret=bytes(32))


def blocks(make, count):
  """Returns the number of small objects that `make(count)` leaves, and what it made."""
  before = sys.getallocatedblocks()
  made = make(count)
  return sys.getallocatedblocks() - before, made


@pytest.mark.parametrize('name', ['generated', 'iid', 'natural', 'quantity'])
def test_a_hundred_times_as_many_clients_need_no_more_objects(name):
  make = generated if name == 'generated' else functools.partial(divided, name)
  make(10)  # What is loaded or cached once is not counted.
  few, small = blocks(make, 500)
  many, large = blocks(make, 50_000)
  assert len(small.train) == 500 and len(large.train) == len(large.test.clients) == 50_000
  assert abs(many - few) < 400, (few, many)
  assert large.train.sizes.sum() == 100 * small.train.sizes.sum() and large.train.most_examples >= 3
  assert isinstance(large.train, clients.ClientImages)


@pytest.mark.parametrize('privacy', [False, True])
def test_a_plan_over_many_clients_needs_no_more_objects(privacy):
  small, large = generated(500), generated(50_000)
  planned(small, privacy)
  found = []
  for one in small, large:
    gc.collect()
    before = sys.getallocatedblocks()
    plan = planned(one, privacy)
    cohort = plan.cohort(1)
    found.append(sys.getallocatedblocks() - before)
    assert isinstance(cohort, np.ndarray) and len(set(cohort)) == len(cohort) and cohort.max() < len(one.train)
  assert abs(found[1] - found[0]) < 20_000, found

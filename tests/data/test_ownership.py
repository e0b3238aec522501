"""Who trains, who is only tested, and on what: nothing is used twice and nothing is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.data import build, images, ownership
from tff_vision.data.sources import pool


def source(n=40, clients=8, test_owners=True, **fields):
  """Returns a pool in which every pixel tells which example it is."""
  parts = [images.Examples(np.arange(start, start + size, dtype=np.float32).reshape(-1, 1, 1, 1),
                           np.arange(size, dtype=np.int32) % 2) for start, size in ((0, n), (1000, n // 2))]
  owners = [np.array([f'c{i % clients}' for i in range(len(part))]) for part in parts]
  return pool.Pool(train=parts[0], test=parts[1], class_names=('a', 'b'), train_owners=owners[0],
                   test_owners=owners[1] if test_owners else None, **fields)


def config(**fields):
  return configs.DataConfig(**{'dataset': 'x', 'partition': 'natural', **fields})


def everything(who):
  owners = [*who.trainers, *who.unseen]
  train = np.concatenate([part for owner in owners for part in (owner.train, owner.kept_back)])
  return sorted(train), sorted(np.concatenate([who.common, *(owner.test for owner in owners)]))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(['natural', 'iid', 'dirichlet', 'shards', 'quantity']), st.integers(0, 3), st.floats(0, 0.9),
       st.booleans(), st.integers(0, 2**40))
def test_every_example_is_used_once(name, held_out, fraction, test_owners, seed):
  made = (ownership.natural if name == 'natural' else ownership.partitioned)(
      source(test_owners=test_owners), config(partition=name, held_out_clients=held_out, num_clients=8 - held_out),
      seed=seed)
  assert len(made.trainers) == 8 - held_out and len(made.unseen) == held_out
  assert all(len(owner.train) == 0 for owner in made.unseen)
  kept = ownership.hold_out_examples(made, fraction, seed=seed)
  assert everything(made) == everything(kept) == (list(range(40)), list(range(20)))
  for before, after in zip(made.trainers, kept.trainers, strict=True):
    assert len(after.train) >= 1 and np.array_equal(before.test, after.test)
    if fraction:
      number = len(before.train)
      assert len(after.kept_back) == min(max(1, round(fraction * number)), number - 1)


def test_the_first_clients_stay_as_their_number_grows():
  few, more = (ownership.natural(source(), config(num_clients=n, held_out_clients=2), seed=0) for n in (3, 5))
  assert [owner.name for owner in few.trainers] == ['c0', 'c1', 'c2']
  assert [owner.name for owner in more.trainers] == ['c0', 'c1', 'c2', 'c3', 'c4']
  assert '5 of 8 clients were kept, as num_clients says.' in few.notes


def test_the_source_says_how_many_are_unseen_unless_the_user_does():
  assert len(ownership.natural(source(unseen_clients=3), config(), seed=0).unseen) == 3
  assert not ownership.natural(source(unseen_clients=3), config(held_out_clients=0), seed=0).unseen


@pytest.mark.parametrize('fields, said', [
    ({'num_clients': 7, 'held_out_clients': 2}, 'num_clients=7 and held_out_clients=2 is more than the 8 clients'),
    ({'held_out_clients': 8}, 'held_out_clients=8 leaves nobody'),
    ({'num_clients': 9}, 'num_clients=9 is more than the 8'),
    ({'partition': 'iid', 'num_clients': 39, 'held_out_clients': 2}, 'num_clients=39 and held_out_clients=2.*40')])
def test_more_than_there_are_is_refused(fields, said):
  made = config(**fields)
  with pytest.raises(ValueError, match=said):
    (ownership.natural if made.partition == 'natural' else ownership.partitioned)(source(), made, seed=0)


def test_what_reaches_clients_and_tests_is_what_was_decided(monkeypatch):
  monkeypatch.setattr(build.registry, 'find', lambda name: build.registry.Source(
      about='', load=lambda config: source(), locate=None))
  found = build.build(config(held_out_clients=2, client_test_fraction=0.4), seed=1)
  seen = []
  for client, name in enumerate(found.train.client_ids):
    trained = found.train.examples(client).x.ravel()
    tested = found.test.examples.take(found.test.clients[client]).x.ravel()
    assert len(trained) == 3 and len(tested[tested < 1000]) == 2 and not set(trained) & set(tested)
    assert {f'c{int(pixel) % 1000 % 8}' for pixel in (*trained, *tested)} == {name}
    seen += [*trained, *tested]
  unseen = found.unseen.examples.x.ravel()
  assert [len(own) for own in found.unseen.clients] == [7, 7] and len(unseen) == 14
  assert sorted([*seen, *unseen]) == [*range(40), *range(1000, 1020)]
  assert any('12 training examples were held out' in note for note in found.notes)
  labels = {i: i % 2 for i in range(40)} | {1000 + i: i % 2 for i in range(20)}
  for part in (found.test.examples, found.unseen.examples):
    assert [labels[int(pixel)] for pixel in part.x.ravel()] == part.y.tolist()


@pytest.mark.parametrize('name', ['natural', 'iid', 'dirichlet', 'dirichlet_equal', 'shards', 'quantity'])
def test_validation_examples_are_their_clients_and_no_others(name):
  """Those of the source are divided as test examples are, and training examples that are kept are not trained on."""
  validation = images.Examples(np.arange(2000, 2030, dtype=np.float32).reshape(-1, 1, 1, 1),
                               np.arange(30, dtype=np.int32) % 2)
  owners = {'validation_owners': np.array([f'c{i % 8}' for i in range(30)])} if name == 'natural' else {}
  found, more = source(), source(validation=validation, **owners)
  divide = ownership.natural if name == 'natural' else ownership.partitioned
  plain, made = (divide(one, config(partition=name, num_clients=8), seed=3) for one in (found, more))
  for one, other in zip(plain.trainers, made.trainers, strict=True):
    np.testing.assert_array_equal(one.train, other.train)
    np.testing.assert_array_equal(one.test, other.test)
  held = np.concatenate([owner.validation for owner in made.trainers])
  assert sorted(held) == list(range(30)) or name == 'shards' and len(set(held)) == len(held)
  kept = ownership.keep_for_validation(made, 0.3, seed=3)
  for before, after in zip(made.trainers, kept.trainers, strict=True):
    assert len(after.train) and sorted([*after.train, *after.kept_for_validation]) == sorted(before.train)
  assert any('kept for validation' in note for note in kept.notes)


def test_images_have_the_validation_examples_of_both_kinds():
  validation = images.Examples(np.arange(2000, 2030, dtype=np.float32).reshape(-1, 1, 1, 1),
                               np.arange(30, dtype=np.int32) % 2)
  more = source(validation=validation, validation_owners=np.array([f'c{i % 8}' for i in range(30)]))
  who = ownership.keep_for_validation(ownership.natural(more, config(), seed=3), 0.3, seed=3)
  found = build._validation(more, who.trainers)
  for client, owner in enumerate(who.trainers):
    values = found.examples(client).x.ravel()
    assert found.num_examples(client) == len(values) == len(owner.validation) + len(owner.kept_for_validation)
    assert not set(values) & set(more.train.x[owner.train].ravel())
  assert build._validation(source(), ownership.natural(source(), config(), seed=3).trainers) is None

"""What every partition promises, over random labels; and what each one promises beyond that."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.data import partition
from tff_vision.data.partition import natural, split

NAMES = sorted(partition.PARTITIONS)
LABELS_OF_A_CLIENT = ('shards', 'label_quantity')
labelled = st.builds(
    lambda n, classes, seed: np.random.default_rng(seed).integers(0, classes, n).astype(np.int32),
    st.integers(60, 300), st.integers(1, 7), st.integers(0, 2**30))


def make(name, train, test=(), clients=10, seed=0, **fields):
  labels = partition.Labels(train=train, test=np.asarray(test, np.int32), coarse=train // 3)
  own = {'classes_per_client': 3} if name in LABELS_OF_A_CLIENT else {}
  config = configs.DataConfig(**own | fields | {'partition': name})
  return partition.PARTITIONS[name](labels, num_clients=clients, config=config, seed=seed)


def mix(classes, positions, num_classes=10):
  """Returns [clients, classes] shares."""
  counts = np.stack([np.bincount(classes[own], minlength=num_classes) for own in positions])
  return counts / np.maximum(1, counts.sum(axis=1, keepdims=True))


def balanced(n, classes=10):
  return np.repeat(np.arange(classes), n // classes).astype(np.int32)


@pytest.mark.parametrize('name', NAMES)
@settings(max_examples=25, deadline=None)
@given(labelled, labelled, st.integers(3, 12), st.integers(0, 2**40))
def test_disjoint_covering_and_the_same_for_the_same_seed(name, train, test, clients, seed):
  test = test % (1 + train.max())
  found = make(name, train, test, clients, seed)
  assert len(found) == len(found.test) == clients
  assert sorted(np.concatenate(found.train)) == list(range(len(train)))
  everyone = np.concatenate(found.test)
  assert len(set(everyone)) == len(everyone) and set(everyone) <= set(range(len(test)))
  if set(test) <= set(train):
    assert len(everyone) == len(test)
  assert min(len(own) for own in found.train) >= 1
  again = make(name, train, test, clients, seed)
  for one, other in zip((*found.train, *found.test), (*again.train, *again.test), strict=True):
    np.testing.assert_array_equal(one, other)
  assert found.devices == again.devices


@pytest.mark.parametrize('name', NAMES)
def test_another_seed_is_another_split(name):
  one, other = (make(name, balanced(200), seed=seed) for seed in (1, 2))
  assert any(not np.array_equal(a, b) for a, b in zip(one.train, other.train, strict=True))


@pytest.mark.parametrize('name', NAMES)
def test_more_clients_than_examples_is_refused_at_once(name):
  with pytest.raises(ValueError, match='30'):
    make(name, balanced(30, 3), clients=31, **({'classes_per_client': 1} if name in LABELS_OF_A_CLIENT else {}))


@pytest.mark.parametrize('name, fields', [
    ('iid', {}), ('feature_shift', {}), ('dirichlet', {'partition_alpha': 1e6}),
    ('dirichlet_equal', {'partition_alpha': 1e6}), ('quantity', {'quantity_sigma': 0.0}),
    ('quantity', {'quantity_distribution': 'dirichlet', 'partition_alpha': 1e8}),
    ('pachinko', {'pachinko_coarse_alpha': 1e6, 'pachinko_fine_alpha': 1e6}), ('shards', {'classes_per_client': 200}),
    ('label_quantity', {'classes_per_client': 9})])
def test_the_limit_is_iid(name, fields):
  """Equal sizes, and class shares no further from the whole than those of random samples."""
  # Pachinko's superclasses are equally likely whatever their size, so its limit is uniform for equal ones.
  train = balanced(18_000, 9)
  found = make(name, train, train, clients=9, **fields)
  for positions in (found.train, found.test):
    sizes = np.array([len(own) for own in positions])
    # Label quantity rounds each of nine classes on its own.
    assert np.abs(sizes - 2000).max() <= {'dirichlet': 40, 'quantity': 40, 'label_quantity': 9}.get(name, 1)
    # Drawing without replacement, client after client, leaves the last ones what chance has left over.
    uneven = name in ('dirichlet_equal', 'pachinko', 'shards')
    assert np.abs(mix(train, positions, 9) - 1 / 9).max() < (0.1 if uneven else 5 * np.sqrt(0.1 / 2000))


@pytest.mark.parametrize('name, fields', [
    ('dirichlet', {'partition_alpha': 0.3}), ('dirichlet_equal', {'partition_alpha': 0.3}),
    ('shards', {'classes_per_client': 2}), ('label_quantity', {'classes_per_client': 2}), ('pachinko', {})])
def test_clients_are_tested_on_what_they_train_on(name, fields):
  classes = balanced(9000, 9)
  found = make(name, classes, classes[::3], clients=9, **fields)
  np.testing.assert_allclose(mix(classes, found.train), mix(classes[::3], found.test), atol=0.15)


@settings(max_examples=30, deadline=None)
@given(labelled, st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**40))
def test_shards_hold_at_most_k_classes_and_are_near_equal(train, clients, k, seed):
  present = len(set(train))
  if clients * k < present:
    with pytest.raises(ValueError, match='fewer shards'):
      make('shards', train, clients=clients, seed=seed, classes_per_client=k)
    return
  found = make('shards', train, clients=clients, seed=seed, classes_per_client=k)
  assert max(len(set(train[own])) for own in found.train) <= k


def test_two_shards_of_ten_balanced_classes():
  found = make('shards', balanced(6000), clients=100, classes_per_client=2)
  assert {len(own) for own in found.train} == {60}
  assert {len(set(balanced(6000)[own])) for own in found.train} <= {1, 2}


@settings(max_examples=30, deadline=None)
@given(labelled, st.integers(2, 12), st.integers(1, 5), st.integers(0, 2**40))
def test_label_quantity_gives_k_classes_and_shares_each_evenly(train, clients, k, seed):
  present = np.unique(train)
  if clients * k < len(present):
    with pytest.raises(ValueError, match='fewer places'):
      make('label_quantity', train, clients=clients, seed=seed, classes_per_client=k)
    return
  found = make('label_quantity', np.repeat(train, 20), clients=clients, seed=seed, classes_per_client=k)
  counts = np.stack([np.bincount(np.repeat(train, 20)[own], minlength=7) for own in found.train])
  assert {(own > 0).sum() for own in counts} == {min(k, len(present))}
  for of_class in counts.T[present]:
    assert np.ptp(of_class[of_class > 0]) <= 1
  for client in range(clients):
    assert counts[client, present[client % len(present)]] > 0, 'the class of its number is its own'


def test_label_quantity_draws_the_other_classes_evenly():
  train = balanced(5000)
  owned = [mix(train, make('label_quantity', train, clients=10, seed=seed, classes_per_client=2).train) > 0
           for seed in range(60)]
  other = np.concatenate(owned).sum(0) - 60  # Each class is the first one of one client in each of 60 divisions.
  assert abs(other - 60).max() < 4 * np.sqrt(60) and other.sum() == 600


def test_label_quantity_leaves_no_client_empty():
  with pytest.raises(ValueError, match='client 2 of 3 has no training example'):
    make('label_quantity', np.array([0, 1, 1, 1], np.int32), clients=3, classes_per_client=1)


@given(st.integers(1, 6), st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_minimum_size(minimum, seed):
  for name, fields in (('dirichlet', {'partition_alpha': 0.3}), ('quantity', {'quantity_sigma': 3.0}),
                       ('quantity', {'quantity_distribution': 'dirichlet', 'partition_alpha': 0.05})):
    found = make(name, balanced(400), clients=8, seed=seed, min_client_examples=minimum, **fields)
    assert min(len(own) for own in found.train) >= minimum


@pytest.mark.parametrize('alpha', [1e-3, 1e-300])
def test_an_alpha_without_a_split_is_said_at_once(alpha):
  with pytest.raises(ValueError, match='partition_alpha=.* is so small'):
    make('dirichlet', balanced(1000), clients=50, partition_alpha=alpha)


def test_equal_dirichlet_has_equal_sizes_at_any_alpha():
  classes = balanced(1000)
  classes_seen = {}
  for alpha in (1e-300, 0.5, 100):
    found = make('dirichlet_equal', classes, clients=50, partition_alpha=alpha)
    assert {len(own) for own in found.train} == {20}
    classes_seen[alpha] = np.mean([len(set(classes[own])) for own in found.train])
  assert classes_seen[1e-300] < 2 and sorted(classes_seen.values()) == list(classes_seen.values())


def test_quantity_sizes_follow_their_distribution():
  found = make('quantity', np.zeros(200_000, np.int32), clients=400, quantity_sigma=0.7)
  logarithms = np.log([len(own) for own in found.train])
  assert abs(logarithms.std() - 0.7) < 0.08
  drawn = make('quantity', np.zeros(200_000, np.int32), clients=400, quantity_distribution='dirichlet',
               partition_alpha=2.0)
  shares = np.array([len(own) for own in drawn.train]) / 200_000
  # The variance of one coordinate of Dirichlet(2, ..., 2) over 400 clients.
  assert shares.var() == pytest.approx((1 / 400) * (1 - 1 / 400) / 801, rel=0.3)


def test_pachinko_as_in_cifar100():
  """500 clients of 100 images, few superclasses each: about 6.5 of 20, and 22 of 100 classes."""
  train = balanced(50_000, 100)
  labels = partition.Labels(train=train, test=train[::5], coarse=train // 5)
  found = partition.PARTITIONS['pachinko'](labels, num_clients=500, config=configs.DataConfig(), seed=0)
  assert {len(own) for own in found.train} == {100} and {len(own) for own in found.test} == {20}
  assert 5 < np.mean([len(set(train[own] // 5)) for own in found.train]) < 8
  assert 18 < np.mean([len(set(train[own])) for own in found.train]) < 26


def test_pachinko_without_superclasses_is_refused():
  labels = partition.Labels(train=balanced(20), test=balanced(20))
  with pytest.raises(ValueError, match='superclasses'):
    partition.PARTITIONS['pachinko'](labels, num_clients=2, config=configs.DataConfig(), seed=0)


def test_multi_label_goes_by_the_first_finding():
  findings = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1]], np.float32)
  train, test, number = partition.Labels(train=findings, test=findings[:2]).class_numbers()
  assert train.tolist() == [3, 1, 0, 2] and test.tolist() == [3, 1] and number == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1)), min_size=1, max_size=6), st.data())
def test_draws_without_replacement_take_what_there_is(classes, data):
  left, weights = (np.array(column) for column in zip(*classes, strict=True))
  size = data.draw(st.integers(0, int(left.sum())))
  drawn = split.draw_classes(np.random.default_rng(0), size, weights, left)
  assert drawn.sum() == size and (drawn <= left).all() and (drawn >= 0).all()


def test_draws_without_replacement_have_the_distribution_of_one_by_one():
  weights, left = np.array([0.7, 0.2, 0.1]), np.array([2, 3, 9])
  rng = np.random.default_rng(0)
  bulk = np.mean([split.draw_classes(rng, 6, weights, left) for _ in range(4000)], axis=0)
  single = np.zeros(3)
  for _ in range(4000):
    drawn = np.zeros(3, int)
    for _ in range(6):
      open_weights = weights * (drawn < left)
      drawn[rng.choice(3, p=open_weights / open_weights.sum())] += 1
    single += drawn / 4000
  np.testing.assert_allclose(bulk, single, atol=0.06)


def test_examples_of_nobody_have_no_owner():
  names, positions = natural.by_owner(np.array([], str))
  assert len(names) == len(positions) == 0
  names, positions = natural.by_owner(np.array(['b', 'a', 'b']))
  assert names.tolist() == ['a', 'b'] and [own.tolist() for own in positions] == [[1], [0, 2]]

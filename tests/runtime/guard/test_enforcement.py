"""Orders and counts by hand: parts of a cohort, activities that begin equally, and epsilon."""

import dataclasses
import itertools
import time

import pytest
from hypothesis import given, strategies

from tff_vision.runtime.worker.guard import audit, enforcement, rules

CALL, FETCH = rules.CALL, rules.FETCH


def _steps(text):
  """'ca fa' is a call of a and its fetch."""
  return [rules.Step(CALL if word[0] == 'c' else FETCH, word[1:]) for word in text.split()]


def _ruled(*activities, **changed):
  return rules.Rules(**{
      'site': 'north', 'digest': 'd', 'computations': frozenset(), 'names': frozenset('pqr'), 'values': frozenset(),
      'activities': activities, 'most_clients': 3, 'most_bytes': 10**6, 'expires': time.time() + 99, **changed})


def _activity(name, *orders, most, trains=False, names=''):
  return rules.Activity(name=name, orders=tuple(rules.shortened(_steps(order)) for order in orders), most=most,
                        trains=trains, names=tuple(names))


class Driven:
  """A watch, driven by words; `names` are those of the next calls."""

  def __init__(self, ruled, path):
    self.watch = enforcement.Enforcement(ruled, audit.Log(path, ruled.digest))
    self._number = 0

  def __call__(self, text, names=''):
    for step in _steps(text):
      if step.kind == CALL:
        self._number = self.watch.call(step.key, tuple(names), len(names), frozenset())
      else:
        self.watch.fetch(step.key, frozenset({self._number}))


def test_repetitions_are_told_by_numbers():
  call, fetch = _steps('ca fa')
  assert rules.shortened(_steps('ca fa') * 3) == (rules.Block((call, fetch), 3),)
  assert rules.shortened(_steps('fa ca ca fa')) == (rules.Block((fetch,)), rules.Block((call,), 2),
                                                    rules.Block((fetch,)))


@given(strategies.lists(strategies.sampled_from('abc'), max_size=12))
def test_what_was_shortened_is_what_was_done(words):
  steps = [rules.Step(CALL, word) for word in words]
  assert list(itertools.chain.from_iterable(block.steps * block.most for block in rules.shortened(steps))) == steps
  if steps:
    activity = rules.Activity(name='x', orders=(rules.shortened(steps),), most=2)
    assert rules.of_json(rules.to_json(activity)) == activity
    reading = dataclasses.replace(activity, names=('p',))
    assert rules.of_json(rules.to_json(reading)) == reading


def test_parts_of_a_cohort_are_one_round_and_a_client_again_is_another(tmp_path):
  drive = Driven(_ruled(_activity('a round', 'ca fa ca fa', most=2, trains=True), epsilon=((1, .5), (2, .8))),
                 tmp_path / 'log')
  assert drive.watch.epsilon == 0.0
  drive('ca fa', 'p')
  drive('ca fa', 'q')
  assert drive.watch.begun == {'a round': 1} and drive.watch.epsilon == 0.5
  drive('ca', 'q')
  assert drive.watch.begun == {'a round': 2} and drive.watch.epsilon == 0.8
  drive('fa')
  drive('ca fa', 'p')
  for names in ('p', 'r'):
    with pytest.raises(rules.Refused, match='a round: 2 have begun'):
      drive('ca', names)


def test_of_activities_that_begin_equally_only_the_one_that_it_is_counts(tmp_path):
  drive = Driven(_ruled(_activity('a round', 'ck fk ct ft', most=1), _activity('a test', 'ck fk ce fe', most=2)),
                 tmp_path / 'log')
  drive('ck fk')
  assert drive.watch.begun == {'a round': 0, 'a test': 0}
  drive('ce')
  assert drive.watch.begun == {'a round': 0, 'a test': 1}
  with pytest.raises(rules.Refused, match='out of order: a test goes on in another way'):
    drive('ft')
  drive('fe ck fk ct ft')
  assert drive.watch.begun == {'a round': 1, 'a test': 1}
  drive('ck')
  assert drive.watch.begun == {'a round': 1, 'a test': 2}  # It can be nothing else.
  with pytest.raises(rules.Refused, match='out of order'):
    drive('fk ct')
  with pytest.raises(rules.Refused, match='have begun'):
    drive('ck')


def test_activities_of_one_order_are_told_apart_by_the_data_that_they_read(tmp_path):
  drive = Driven(_ruled(_activity('a check', 'ck ce fe ce fe', most=9, names='pq'),
                        _activity('a test', 'ck ce fe ce fe', most=1, names='r')), tmp_path / 'log')
  drive('ck')
  drive('ce fe', 'r')
  assert drive.watch.begun == {'a check': 0, 'a test': 1}
  with pytest.raises(rules.Refused, match='out of order'):
    drive('ce', 'p')  # A test does not read it, and a check begins with another call.
  drive('ck')
  drive('ce fe', 'p')
  drive('ce fe', 'q')
  assert drive.watch.begun == {'a check': 1, 'a test': 1}
  drive('ck')  # It can only be a check, because there was one test.
  with pytest.raises(rules.Refused, match='out of order'):
    drive('ce', 'r')
  assert drive.watch.begun == {'a check': 2, 'a test': 1}
  one = Driven(_ruled(_activity('a check', 'ce fe', most=9, names='pq')), tmp_path / 'other')
  with pytest.raises(rules.Refused, match="a check: it does not read 'r'"):
    one('ce', 'r')


def test_one_of_several_orders_and_rounds_that_are_given_up(tmp_path):
  drive = Driven(_ruled(_activity('a round', 'ca fa cb fb', 'ca fa cd fd', most=4)), tmp_path / 'log')
  drive('ca fa cb fb')
  drive('ca fa cd fd')
  drive('ca ca fa')  # The first was lost with its coordinator.
  assert drive.watch.begun == {'a round': 4}
  drive('cd')
  with pytest.raises(rules.Refused, match='out of order'):
    drive('fb')

"""The files of clients' states: undisturbed by kills, by rounds run twice, by other clients."""

import numpy as np
import pytest
import tree
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import protocols
from tff_vision.client_state import driver, store

ZERO = {'control': (np.zeros((2, 3), np.float32), np.zeros(3, np.float32)), 'count': np.int64(0)}


class Killed(Exception):
  pass


class Process:
  """Each client's state counts its turns and adds up the rounds' numbers; the server's adds up what is kept."""

  initialize = get_model_weights = set_model_weights = None

  def next(self, state, pairs):
    kept = []
    for round_num, sequence in pairs:
      before = tree.map_structure(lambda t: t.numpy(), next(iter(sequence)))
      kept.append({'control': tuple(a + round_num + state for a in before['control']), 'count': before['count'] + 1})
    total = sum(float(k['control'][1][0]) for k in kept)
    return protocols.RoundOutput(0.5 * state + total, {'loss': 1.0}, kept)


class Data:
  def present(self, cohort):
    return cohort

  def request(self, client, round_num):
    return float(round_num + 100 * client)


def run(folder, cohorts, *, kill_in=None, after_write=0, checkpoint=(0, 0.0)):
  """Runs rounds after the checkpoint's; returns (round, state) checkpoints; dies within round `kill_in`."""
  kept = store.Store(folder, ZERO)
  written = []
  write = kept.write

  def dying_write(client, round_num, value):
    if round_num == kill_in and len(written) == after_write:
      raise Killed
    write(client, round_num, value)
    if round_num == kill_in:
      written.append(client)
  kept.write = dying_write
  process, data = driver.KeptStateProcess(Process(), kept), driver.NumberedData(Data())
  done = [checkpoint]
  for round_num in range(checkpoint[0] + 1, len(cohorts) + 1):
    try:
      output = process.next(done[-1][1], [data.request(client, round_num) for client in cohorts[round_num - 1]])
    except Killed:
      return done
    assert dict(output.metrics) == {'loss': 1.0}
    if round_num == kill_in:  # The states are written, the checkpoint is not.
      return done
    done.append((round_num, output.state))
  return done


def final(folder, clients=5):
  return [store.Store(folder, ZERO).read(client, 10**6) for client in range(clients)]


@settings(max_examples=12)
@given(st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4).map(sorted), min_size=2, max_size=8),
       st.data())
def test_a_kill_anywhere_changes_nothing(tmp_path_factory, cohorts, data):
  calm, disturbed = tmp_path_factory.mktemp('calm'), tmp_path_factory.mktemp('disturbed')
  expected = run(calm, cohorts)
  kill_in = data.draw(st.integers(1, len(cohorts)))
  done = run(disturbed, cohorts, kill_in=kill_in, after_write=data.draw(st.integers(0, 4)))
  # One checkpoint earlier may be all that is left.
  resumed = run(disturbed, cohorts, checkpoint=done[-1 - data.draw(st.integers(0, min(1, len(done) - 1)))])
  assert resumed[-1] == expected[-1]
  for a, b in zip(tree.flatten(final(calm)), tree.flatten(final(disturbed)), strict=True):
    np.testing.assert_array_equal(a, b)
  turns = [sum(client in cohort for cohort in cohorts) for client in range(5)]
  assert [int(kept['count']) for kept in final(calm)] == turns


def test_old_versions_go_and_others_are_not_touched(tmp_path):
  kept = store.Store(tmp_path, ZERO)
  value = lambda n: {**ZERO, 'count': np.int64(n)}
  kept.write(7, 1, value(1))
  before = (tmp_path / '000007' / '000001.npz').stat().st_mtime_ns
  for round_num in range(1, 30):
    kept.write(3, round_num, value(round_num))
    assert int(kept.read(3, round_num)['count']) == round_num - 1, 'a round that is run again reads the old version'
  assert sorted(p.name for p in (tmp_path / '000003').iterdir()) == ['000027.npz', '000028.npz', '000029.npz']
  assert (tmp_path / '000007' / '000001.npz').stat().st_mtime_ns == before
  assert int(kept.read(7, 500)['count']) == 1 and int(kept.read(8, 500)['count']) == 0


def test_damaged_and_foreign_files_are_named(tmp_path):
  kept = store.Store(tmp_path, ZERO)
  kept.write(1, 1, ZERO)
  with pytest.raises(ValueError, match='another model'):
    store.Store(tmp_path, {'count': np.zeros(3)}).read(1, 2)
  (tmp_path / '000001' / '000001.npz').write_bytes(b'half')
  with pytest.raises(ValueError, match='000001.npz is no state'):
    kept.read(1, 2)


def test_an_absent_client_keeps_what_it_had(tmp_path):
  class WithoutTheSecond(Process):
    def next(self, state, pairs):
      output = super().next(state, [pairs[0], pairs[2]])
      return output.over([0, 2], 3)

  kept, data = store.Store(tmp_path, ZERO), driver.NumberedData(Data())
  state = 0.0
  for round_num, process in ((1, Process()), (2, WithoutTheSecond())):
    requests = [data.request(client, round_num) for client in (4, 3, 1)]
    output = driver.KeptStateProcess(process, kept).next(state, requests)
    state = output.state
  assert [int(kept.read(client, 3)['count']) for client in (4, 3, 1)] == [2, 1, 2]
  with pytest.raises(ValueError, match='round 3 lost clients'):
    driver.KeptStateProcess(Losing(), kept).next(state, [data.request(client, 3) for client in (4, 3)])


class Losing(Process):
  def next(self, state, pairs):
    return super().next(state, pairs[:1])

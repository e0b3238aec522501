"""The budget over several runs: totals by hand, what is refused, two processes at once, kills, and damage."""

import concurrent.futures
import json
import math
import multiprocessing
import os
import signal
import stat
import time

import dp_accounting
import pytest

from tff_vision.accounting import budget_file, gdp, privacy_losses
from tff_vision.configs import budget_file_config

DELTA = 1e-5
DATA = budget_file.fingerprint('digits', ['0', '1'], [('a', 10), ('b', 20)])
OTHER_DIVISION = budget_file.fingerprint('digits', ['0', '1'], [('a', 15), ('b', 15)])


def opened(path, **options):
  return budget_file.BudgetFile(budget_file_config.BudgetFileConfig(
      budget_file=str(path), **{'budget_epsilon': 3.0, 'budget_delta': DELTA, **options}))


def gaussian(mu, unit='client'):
  return privacy_losses.Spent(unit=unit, kinds=(privacy_losses.Loss(event=gdp.event(mu)),))


def by_client(*mus):
  """Each client's examples at a price of their own."""
  return privacy_losses.Spent(unit='example', kinds=tuple(privacy_losses.Loss(event=gdp.event(mu)) for mu in mus),
                              kind_of=tuple(range(len(mus))))


def reserve(file, run, spent, data=DATA):
  return file.reserve(run, data, spent, delta=1e-4, label=run)


def test_runs_are_reserved_settled_and_added_up_as_one_mechanism(tmp_path):
  path = tmp_path / 'budget'
  file = opened(path)
  assert reserve(file, 'one', gaussian(0.3)).epsilon == gdp.epsilon(0.3, DELTA)
  found = reserve(file, 'two', gaussian(0.4))
  assert found.epsilon == pytest.approx(gdp.epsilon(0.5, DELTA)) and found.runs == 2 and found.unit == 'client'
  # It stopped early; the other one was run again, and cost more.
  assert file.settle('two', DATA, gaussian(0.1), label='two').epsilon == pytest.approx(gdp.epsilon(
      math.hypot(0.3, 0.1), DELTA))
  assert file.settle('one', DATA, gaussian(0.4), label='one').epsilon == pytest.approx(gdp.epsilon(
      math.hypot(0.4, 0.1), DELTA))
  # A run that goes on replaces its own charge.
  assert reserve(file, 'two', gaussian(0.3)).epsilon == pytest.approx(gdp.epsilon(0.5, DELTA))
  file.release('two')
  assert opened(path).totals().epsilon == gdp.epsilon(0.4, DELTA)
  assert stat.S_IMODE(path.stat().st_mode) == 0o600
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert len(lines) == 7 and lines[0]['delta'] == DELTA
  assert 'a' not in lines[1]['division'].split() and len(lines[1]['division']) == 64


def test_what_does_not_fit_is_refused_with_the_numbers_and_not_charged(tmp_path):
  file = opened(tmp_path / 'budget', budget_epsilon=gdp.epsilon(0.5, DELTA))
  reserve(file, 'one', gaussian(0.3))
  up = lambda epsilon: f'{math.ceil(1000 * epsilon) / 1000:.4g}'  # Both are between 1 and 10.
  before, together = gdp.epsilon(0.3, DELTA), gdp.epsilon(math.hypot(0.3, 0.45), DELTA)
  with pytest.raises(ValueError, match=rf'two does not fit: other runs on this data \(1\) cost epsilon {up(before)}, '
                                       f'with it {up(together)}'):
    reserve(file, 'two', gaussian(0.45))
  assert file.totals().runs == 1
  reserve(file, 'two', gaussian(0.399))
  with pytest.raises(ValueError, match='promises no privacy'):
    reserve(file, 'three', None)
  with pytest.raises(ValueError, match='does not fit'):
    reserve(file, 'three', gaussian(math.inf))


def test_another_budget_other_data_and_promises_to_examples_are_refused(tmp_path):
  path = tmp_path / 'budget'
  with pytest.raises(ValueError, match='is new: say what all runs may cost together, with --budget_epsilon'):
    reserve(opened(path, budget_epsilon=None), 'one', gaussian(0.3))
  assert not path.exists()
  reserve(opened(path), 'one', gaussian(0.3))
  reserve(opened(path, budget_epsilon=None, budget_delta=None), 'one', gaussian(0.3))
  for name, value in (('budget_epsilon', 4.0), ('budget_delta', 1e-6), ('budget_unit', 'example')):
    with pytest.raises(ValueError, match=f'{name}={value!r}, but the file was made with'):
      reserve(opened(path, **{name: value}), 'two', gaussian(0.1))
  with pytest.raises(ValueError, match=r'another data set \(digits\), and two is on mnist'):
    reserve(opened(path), 'two', gaussian(0.1), budget_file.fingerprint('mnist', ['0', '1'], [('a', 10)]))
  with pytest.raises(ValueError, match='promises privacy to examples alone'):
    reserve(opened(path), 'two', gaussian(0.1, 'example'))
  with pytest.raises(ValueError, match='cannot be opened: No such file'):
    reserve(opened(tmp_path / 'no' / 'budget'), 'two', gaussian(0.1))
  with pytest.raises(ValueError, match='budget_epsilon=1.0 has no effect without budget_file'):
    budget_file_config.BudgetFileConfig(budget_epsilon=1.0)
  with pytest.raises(ValueError, match='budget_file=/dev/null is no file'):  # It would forget what was spent.
    reserve(opened('/dev/null'), 'one', gaussian(0.1))


def test_examples_pay_as_their_own_client_while_all_runs_divide_the_data_alike(tmp_path):
  file = opened(tmp_path / 'budget', budget_unit='example')
  reserve(file, 'one', by_client(0.3, 0.1))
  assert reserve(file, 'two', by_client(0.1, 0.3)).epsilon == pytest.approx(gdp.epsilon(math.hypot(0.3, 0.1), DELTA))
  # Divided otherwise, nobody knows who was whose: the dearest of each.
  found = reserve(file, 'three', by_client(0.2, 0.05), OTHER_DIVISION)
  assert found.divisions == 2
  assert found.epsilon == pytest.approx(gdp.epsilon(math.sqrt(0.09 + 0.09 + 0.04), DELTA))
  assert found.by_unit['client'] is None


def test_a_promise_to_clients_is_one_to_examples_too_at_its_price(tmp_path):
  file = opened(tmp_path / 'budget', budget_unit='example')
  reserve(file, 'one', gaussian(0.2, 'example'))
  found = reserve(file, 'two', gaussian(0.1))
  together, client = (privacy_losses.Composition([privacy_losses.Loss(event=gdp.event(mu)) for mu in mus])
                      for mus in ((0.2, 0.1), (0.1,)))
  assert found.epsilon == privacy_losses.example_epsilon(together, client, DELTA)
  assert gdp.epsilon(math.hypot(0.2, 0.2), DELTA) < found.epsilon
  clients = opened(tmp_path / 'clients')
  found = reserve(clients, 'one', gaussian(0.2))
  assert found.epsilon == found.by_unit['client'] < found.by_unit['example']


def test_many_kinds_of_clients_are_bounded_quickly(tmp_path):
  file = opened(tmp_path / 'budget', budget_unit='example', budget_epsilon=50.0)
  event = lambda n: dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
      8 / (20 + n), dp_accounting.GaussianDpEvent(2.0)), 5)
  spent = privacy_losses.Spent(unit='example', kinds=tuple(privacy_losses.Loss(event=event(n)) for n in range(9)),
                               kind_of=tuple(range(9)))
  reserve(file, 'one', spent)
  dearest = privacy_losses.Composition([spent.kinds[0]] * 2).epsilon(DELTA)
  assert reserve(file, 'two', spent).epsilon == pytest.approx(dearest, rel=1e-6)
  bounded = reserve(file, 'three', spent, OTHER_DIVISION)
  assert privacy_losses.Composition([spent.kinds[0]] * 3).epsilon(DELTA) <= bounded.epsilon < 1.3 * dearest * 1.5


def test_a_torn_line_counts_for_nothing_and_a_damaged_one_stops_everything(tmp_path):
  path = tmp_path / 'budget'
  reserve(opened(path), 'one', gaussian(0.3))
  whole = path.read_bytes()
  for cut in (5, len(whole) // 2):  # Within the header too: the file was being made.
    path.write_bytes(whole[:cut] if cut == 5 else whole + whole.splitlines()[1][:40])
    found = reserve(opened(path), 'two', gaussian(0.4))
    assert found.runs == (1 if cut == 5 else 2)
    assert opened(path).totals() == found
  text = path.read_text()
  path.write_text(text.replace('"kinds"', '"kind"', 1))
  with pytest.raises(ValueError, match='line 2 is no line of a budget'):
    opened(path).totals()
  path.write_text('')
  with pytest.raises(ValueError, match='holds no budget yet'):
    opened(path).totals()


def _try(path, run, start):
  start.wait()
  try:
    reserve(opened(path, budget_epsilon=None), run, gaussian(0.4))
    return True
  except ValueError as error:
    assert 'does not fit' in str(error)
    return False


def _hang_in_the_lock(path, ready):
  with opened(path, budget_epsilon=None)._locked() as journal:
    journal.file.write(b'{"reserve": "killed", "ti')
    ready.set()
    time.sleep(60)


def test_two_runs_that_begin_at_once_cannot_both_have_what_is_left_and_a_killed_writer_leaves_no_lock(tmp_path):
  path, context = tmp_path / 'budget', multiprocessing.get_context('spawn')
  epsilon = gdp.epsilon(0.5, DELTA)
  reserve(opened(path, budget_epsilon=epsilon), 'one', gaussian(0.3))
  ready = context.Event()
  writer = context.Process(target=_hang_in_the_lock, args=(path, ready))
  writer.start()
  assert ready.wait(60)
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    waiting = pool.submit(lambda: opened(path, budget_epsilon=epsilon).totals().runs)
    time.sleep(0.2)
    assert not waiting.done()
    os.kill(writer.pid, signal.SIGKILL)
    assert waiting.result(20) == 1
  writer.join()
  with context.Manager() as manager, context.Pool(2) as pool:
    start = manager.Event()
    results = [pool.apply_async(_try, (path, f'run {i}', start)) for i in range(2)]
    start.set()
    assert sorted(result.get(60) for result in results) == [False, True]
  assert opened(path, budget_epsilon=epsilon).totals().epsilon == pytest.approx(epsilon)


def test_a_run_that_went_on_in_another_folder_is_not_charged_in_its_place(tmp_path):
  """A copy of a folder knows the sessions up to the copy."""
  file, session = opened(tmp_path / 'budget'), budget_file.Session
  charge = lambda name, *earlier, label='here': file.reserve(
      'run', DATA, gaussian(0.3), delta=1e-4, label=label, session=session((*earlier, name)))
  charge('first')
  charge('original', 'first')
  with pytest.raises(ValueError, match='the run of run_dir=copy went on elsewhere, as here: this folder is a copy'):
    charge('copy', 'first', label='run_dir=copy')
  file.settle('run', DATA, gaussian(0.2), label='here', session=session(('first', 'original')))
  with pytest.raises(ValueError, match='went on elsewhere'):
    charge('copy', 'first', label='run_dir=copy')
  assert file.totals().epsilon == gdp.epsilon(0.2, DELTA)
  charge('again', 'first', 'original')
  reserve(file, 'run', gaussian(0.3))  # An earlier version has no sessions.
  charge('later', 'first')

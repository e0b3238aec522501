"""The loop's own decisions, over a process and a place that only pretend."""

import asyncio
import collections
import contextlib
import dataclasses
import json
import types
import weakref

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_vision import configs
from tff_vision.accounting import accounting
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import journal, loop, managers, round_record

Fault = dataclasses.make_dataclass('Fault', ['worker', 'reason', 'clients'])


async def nothing_saved(structure):
  del structure
  return None, 0


def count(state, data):
  return types.SimpleNamespace(state=state + len(data), metrics={})


def run(plan, tmp_path, faults=(), rounds=6, load_latest=nothing_saved, first=0, compute=count, repeated=None,
        own_models=None, **options):
  """Runs the loop; returns its outcome and the journal.

  Args:
    faults: Those of the rounds, in order.
    repeated: From a round to the groups of clients that a lost worker lets compute again in it.
  """
  kept, faults, place = [], collections.deque(faults), types.SimpleNamespace(again=None)

  async def save(state, round_num):
    del state
    kept.append(round_num)

  def play(state, data):
    for clients in (repeated or {}).get(len(kept) + 1, ()):
      place.again(clients)
    return compute(state, data)

  def cohort(clients, population, again=None):
    place.again = again
    return contextlib.nullcontext()

  weights = types.SimpleNamespace(assign_weights_to=lambda model: None)
  process = types.SimpleNamespace(
      initialize=lambda: first, set_model_weights=lambda state, _: state, get_model_weights=lambda _: weights,
      next=play)
  evaluated = {'evaluation': {'accuracy': 0.5}, 'per_client': {}}
  book = journal.Journal(tmp_path / 'journal.jsonl')
  training = loop.Training(
      process=process, plan=plan, client_data=types.SimpleNamespace(present=list, request=lambda client, _: client),
      task=types.SimpleNamespace(images=types.SimpleNamespace(train=[None] * 4, test=None), initial_weights=lambda: 0),
      place=types.SimpleNamespace(cohort=cohort, WorkerLost=KeyError,
                                  take_faults=lambda: faults.popleft() if faults else []),
      traffic=round_record.Traffic(bytes_down=1, bytes_up=1),
      evaluator=types.SimpleNamespace(model=None, evaluate=lambda _: evaluated), own_models=own_models,
      program=configs.ProgramConfig(rounds=rounds, rounds_per_evaluation=100))
  outcome = asyncio.run(loop.run(training, loop.Books(
      managers=managers.Managers(checkpoints=types.SimpleNamespace(load_latest=load_latest, save=save), releases=()),
      journal=book, **{'stop_requested': lambda: False, 'on_round': lambda record: None, **options})))
  assert len(kept) <= len(outcome.history)
  return outcome, book


def test_a_state_is_freed_when_the_next_one_is_there(tmp_path):
  class State:
    """What a process carries from round to round."""

  states, alive = [], []

  def compute(state, data):
    del state, data
    made = State()
    states.append(weakref.ref(made))
    return types.SimpleNamespace(state=made, metrics={})

  run(build('round_robin', privacy='local_dp', noise_multiplier=4.0), tmp_path, compute=compute,
      on_round=lambda record: alive.append(sum(state() is not None for state in states)))
  assert len(states) == 6 and alive == [1] * 6


def test_what_clients_keep_is_joined_once_for_evaluation_and_outcome(tmp_path):
  asked, joint = [], types.SimpleNamespace(assign_weights_to=lambda model: None)

  def evaluate(evaluator, state, round_num):
    del evaluator, state
    asked.append(round_num)
    return joint, {'shared': {'mean': 0.5}, 'own': {'mean': 0.6, 'percentile_10': 0.4}, 'gaining': 1.0}

  outcome, _ = run(build('round_robin', privacy='local_dp', noise_multiplier=4.0), tmp_path,
                   own_models=types.SimpleNamespace(evaluate=evaluate))
  assert asked == [6] and outcome.weights is joint and outcome.personal['gaining'] == 1.0
  assert outcome.history[-1]['personal']['own_mean'] == 0.6


def build(sampling, cohort_size=4, **privacy):
  made = plan_lib.build_plan(
      configs.PrivacyConfig(clip_norm=1.0, delta=1e-3, **privacy),
      configs.CohortConfig(cohort_size=cohort_size, sampling=sampling), population=4, rounds=6, seed=1,
      sizes=(90, 80, 70, 60), client=configs.ClientConfig(batch_size=10))
  if 'distributed' in privacy['privacy']:
    made = dataclasses.replace(made, value_bits=32, length=10)
  return made


SELF_NOISING = ('local_dp', 'example_dp_sgd', 'distributed_gaussian', 'distributed_skellam')


@pytest.mark.parametrize('mechanism', SELF_NOISING)
def test_what_clients_release_twice_is_charged_twice(tmp_path, mechanism):
  plan = build('round_robin', 2, privacy=mechanism, noise_multiplier=4.0)
  pair = tuple(plan.cohort(2))
  expected = plan.charged(plan_lib.Past(replayed=(2, 2))).ledger(6).epsilon
  if mechanism == 'example_dp_sgd':  # Each client has a ledger of its own.
    turns = [3 + 2 * int(client == pair[0]) + int(client == pair[1]) for client in range(4)]
    expected = max(map(plan.client_epsilon, range(4), turns))
  outcome, book = run(plan, tmp_path, repeated={2: [pair[:1], pair]})
  assert len(outcome.history) == 6 and book.past().again == ((2, pair[:1]), (2, pair))
  charged = plan.charged(journal.Journal(tmp_path / 'journal.jsonl').past())
  # Two turns more for the one, one for its partner. Of shares of noise, a sum that has a new one is a sum more.
  assert charged.ledger(6).epsilon == pytest.approx(expected) and expected > plan.ledger(6).epsilon
  assert charged.ledger(6).replayed_rounds == 2
  assert outcome.history[-1]['privacy']['replayed_rounds'] == 2
  if mechanism == 'example_dp_sgd':
    assert [client.rounds for client in charged.ledger(6).per_client] == turns


@pytest.mark.parametrize('mechanism', ['local_dp', 'example_dp_sgd', 'distributed_gaussian'])
def test_a_budget_holds_for_what_is_released_twice(tmp_path, mechanism):
  plan = build('fixed', privacy=mechanism, noise_multiplier=4.0)
  budget = plan.ledger(6).epsilon
  outcome, book = run(plan, tmp_path / '.', repeated={2: [(0, 1, 2, 3)]}, stop_at_epsilon=budget)
  assert len(outcome.history) == 5 and not outcome.interrupted, 'the sixth round is paid for the second'
  assert plan.charged(book.past()).ledger(5).epsilon == pytest.approx(budget)

  # In the last round nothing is left to pay with: what may have been answered is charged, and the run ends before it.
  (tmp_path / 'last').mkdir()
  outcome, book = run(plan, tmp_path / 'last', repeated={6: [(0, 1, 2, 3)]}, stop_at_epsilon=budget)
  assert len(outcome.history) == 5 and book.past().again == ()
  assert plan.charged(book.past()).ledger(5).epsilon == pytest.approx(budget)

  (tmp_path / 'first').mkdir()
  with pytest.raises(ValueError, match=r'stop_at_epsilon=.* does not pay for round 1 once more'):
    run(plan, tmp_path / 'first', rounds=1, repeated={1: [(0, 1, 2, 3)]}, stop_at_epsilon=plan.ledger(1).epsilon)


def test_nothing_is_told_where_noise_is_the_servers(tmp_path):
  for plan in (build('poisson', privacy='client_gaussian', noise_multiplier=1.0),
               plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(0))):
    assert not plan.clients_draw_noise and plan.example_counts == ()


def test_a_budget_that_lost_clients_use_up_ends_the_run_earlier(tmp_path):
  plan = build('fixed', privacy='distributed_gaussian', noise_multiplier=2.0)
  budget = plan.ledger(6).epsilon
  lost = Fault('worker', 'gone', (0, 1, 2))
  outcome, book = run(plan, tmp_path, [[], [lost]], stop_at_epsilon=budget)
  charged = plan.charged(book.past())
  done = len(outcome.history)
  # Rounds cost in inverse proportion to the clients that delivered: 1, then 4, and one more fits into six.
  assert done == 3
  assert charged.ledger(done).epsilon <= budget < charged.ledger(done + 1).epsilon
  assert 'evaluation' in outcome.history[-1] and not outcome.interrupted
  assert outcome.history[1]['dropped_clients'] == 3


def test_who_was_lost_is_told_only_where_attendance_is_public(tmp_path):
  """A worker that failed was called: its name says that its clients took part, and a round's time, how many did."""
  for name, options, told in (
      ('secret', {'sampling': 'poisson', 'privacy': 'client_gaussian'}, set()),
      ('public', {'sampling': 'fixed', 'privacy': 'local_dp'}, {'faults', 'dropped_clients'})):
    (tmp_path / name).mkdir()
    plan, shown = build(noise_multiplier=1.0, **options), []
    outcome, _ = run(plan, tmp_path / name, [[Fault('worker', 'gone', (0,))]], rounds=1, on_round=shown.append)
    assert set(shown[0]) == {'round', 'evaluation', 'per_client', 'privacy'} | told
    # The checkpoint, which is secret, keeps them for whoever has to find the fault.
    assert outcome.history[0]['faults'] == [{'worker': 'worker', 'reason': 'gone', 'clients': (0,)}]
    assert outcome.history[0]['seconds'] >= 0


def test_finished_rounds_without_a_checkpoint_are_not_released_again(tmp_path):
  plan = plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(0))
  book = journal.Journal(tmp_path / 'journal.jsonl')
  book.begin(1)
  book.end(1, 4)
  with pytest.raises(ValueError, match='no checkpoint of them is left'):
    run(plan, tmp_path)


def keyed(rest):
  """Returns a server's state that holds the key of noise."""
  return tff.learning.templates.LearningAlgorithmState((), (), (), {
      'mechanism': {'server_secret_key': np.zeros(8, np.uint32)}}, np.int64(rest))


def resumed(plan, tmp_path, seen, kept, rounds=6, **options):
  """Runs on from the checkpoint of round `kept`, after rounds 1..seen were ended; also returns the rounds' keys."""
  book, keys = journal.Journal(tmp_path / 'journal.jsonl'), []
  for number in range(1, seen + 1):
    book.begin(number)
    book.end(number, 4)
  state = keyed(kept)

  async def load_latest(structure):
    return {**structure, 'state': state, 'history': json.dumps(
        [{'round': number, 'seconds': 1.0} for number in range(1, kept + 1)]).encode()}, kept

  def compute(state, data):
    keys.append(tuple(state.aggregator['mechanism']['server_secret_key']))
    return types.SimpleNamespace(state=state, metrics={})

  outcome, book = run(plan, tmp_path, rounds=rounds, load_latest=load_latest, first=state, compute=compute, **options)
  return outcome, book, keys


def test_a_round_whose_checkpoint_was_lost_gets_another_key_and_is_charged(tmp_path):
  plan = build('poisson', privacy='client_gaussian', noise_multiplier=1.0)
  outcome, book, keys = resumed(plan, tmp_path, seen=4, kept=2)
  assert len(outcome.history) == 6 and len(set(keys)) == 1 and any(keys[0])
  assert book.past().repeated == (3, 4)
  assert [record['privacy']['epsilon_rdp'] for record in outcome.history[2:]] == [
      plan.charged(plan_lib.Past(repeated=again, delivered=dict.fromkeys(range(1, 5), 4))).quick_epsilon(number)
      for number, again in ((3, (3,)), (4, (3, 4)), (5, (3, 4)), (6, (3, 4)))]
  assert outcome.history[-1]['privacy']['epsilon_rdp'] > plan.quick_epsilon(6)


def test_a_round_that_was_not_seen_keeps_its_key(tmp_path):
  plan = build('poisson', privacy='client_gaussian', noise_multiplier=1.0)
  _, book, keys = resumed(plan, tmp_path, seen=2, kept=2)
  assert set(keys) == {(0,) * 8} and book.past().repeated == ()


def test_a_budget_is_not_exceeded_by_repetitions(tmp_path, monkeypatch):
  quick = accounting.epsilon_rdp
  monkeypatch.setattr(accounting, 'epsilon_rdp', lambda event, delta: quick(
      event, delta, orders=accounting.QUICK_ORDERS))
  monkeypatch.setattr(accounting, 'tightest', lambda event, delta: (accounting.epsilon_rdp(event, delta), 'RDP'))
  plan = build('poisson', privacy='client_gaussian', noise_multiplier=1.0)
  budget = plan.ledger(6).epsilon * 1.001
  outcome, book, _ = resumed(plan, tmp_path, seen=4, kept=2, stop_at_epsilon=budget)
  done = len(outcome.history)
  charged = plan.charged(book.past())
  assert done < 6 and charged.ledger(done).epsilon <= budget
  assert charged.ledger(done + 1).epsilon > budget


def test_a_checkpoint_with_other_kinds_of_numbers_is_refused(tmp_path):
  async def load_latest(structure):
    return {**structure, 'state': {'server_secret_buffers': np.zeros([2, 3], np.float32)},
            'history': b'[{"round": 1, "seconds": 1.0}]'}, 1

  plan = plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(0))
  with pytest.raises(ValueError, match='resume is refused: the checkpoint holds other numbers'):
    run(plan, tmp_path, load_latest=load_latest, first={'server_secret_buffers': np.zeros([2, 3], np.float64)})


class Budget:
  """A budget over several runs that holds so many increases."""

  def __init__(self, fits=9):
    self.fits, self.charges = fits, []

  def raise_to(self, spent):
    if not self.fits:
      raise ValueError('it does not fit.')
    self.fits -= 1
    self.charges.append(spent)

  def add(self, spent):
    self.charges.append(spent)


@pytest.mark.parametrize('mechanism', ['local_dp', 'example_dp_sgd', 'distributed_gaussian'])
def test_a_budget_over_runs_is_charged_before_clients_compute_again(tmp_path, mechanism):
  """A run that is killed after that has paid for it; it may never go on."""
  plan, budget = build('fixed', privacy=mechanism, noise_multiplier=4.0), Budget()

  def killed(state, data):
    raise KeyError('killed')

  with pytest.raises(KeyError):
    run(plan, tmp_path, repeated={1: [(0, 1, 2, 3)]}, compute=killed, charged=budget)
  past = journal.Journal(tmp_path / 'journal.jsonl').past()
  assert past.again == ((1, (0, 1, 2, 3)),)
  assert budget.charges == [plan.charged(plan_lib.Past(again=past.again)).spent(6)] != [plan.spent(6)]

  (tmp_path / 'full').mkdir()
  outcome, book = run(plan, tmp_path / 'full', repeated={3: [(0, 1, 2, 3)]}, charged=Budget(fits=0))
  assert len(outcome.history) == 2 and book.past().again == () and not outcome.interrupted


def test_a_budget_over_runs_is_charged_for_clients_that_are_lost_and_rounds_that_are_repeated(tmp_path):
  plan, budget = build('fixed', privacy='distributed_gaussian', noise_multiplier=2.0), Budget()
  run(plan, tmp_path, [[], [Fault('worker', 'gone', (0,))]], rounds=3, charged=budget)
  assert budget.charges == [plan.charged(plan_lib.Past(delivered={1: 4, 2: 3})).spent(3)]

  (tmp_path / 'lost').mkdir()
  plan = build('poisson', 2, privacy='client_gaussian', noise_multiplier=2.0)
  book = journal.Journal(tmp_path / 'lost' / 'journal.jsonl')
  for round_num in (1, 2):
    book.begin(round_num)
    book.end(round_num, 1)

  async def first_round(structure):
    return {**structure, 'history': json.dumps([{'round': 1}]).encode()}, 1

  given = {'rounds': 3, 'load_latest': first_round, 'first': keyed(1),
           'compute': lambda state, data: types.SimpleNamespace(state=state, metrics={})}

  # Its checkpoint of round 2 is lost: with fresh noise that is one release more, which does not fit.
  outcome, _ = run(plan, tmp_path / 'lost', **given, charged=Budget(fits=0))
  assert len(outcome.history) == 1
  budget = Budget()
  outcome, _ = run(plan, tmp_path / 'lost', **given, charged=budget)
  assert len(outcome.history) == 3
  assert budget.charges[0] == plan.charged(plan_lib.Past(delivered={1: 1, 2: 1}, replayed=(2,), repeated=(2,))).spent(3)

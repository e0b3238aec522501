"""The loop's own decisions, over a process and a place that only pretend."""

import asyncio
import collections
import contextlib
import dataclasses
import json
import types

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.privacy import accounting
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import journal, loop

Fault = dataclasses.make_dataclass('Fault', ['worker', 'reason', 'clients'])


async def nothing_saved(structure):
  del structure
  return None, 0


def count(state, data):
  return types.SimpleNamespace(state=state + len(data), metrics={})


def run(plan, tmp_path, faults=(), rounds=6, load_latest=nothing_saved, first=0, compute=count, **options):
  """Runs the loop; `faults` are those of the rounds, in order. Returns its outcome and the journal."""
  kept, faults = [], collections.deque(faults)

  async def save(state, round_num):
    del round_num
    kept.append(state)

  weights = types.SimpleNamespace(assign_weights_to=lambda model: None)
  process = types.SimpleNamespace(
      initialize=lambda: first, set_model_weights=lambda state, _: state, get_model_weights=lambda _: weights,
      next=compute)
  evaluated = {'evaluation': {'accuracy': 0.5}, 'per_client': {}}
  book = journal.Journal(tmp_path / 'journal.jsonl')
  outcome = asyncio.run(loop.run(
      process, plan=plan, client_data=types.SimpleNamespace(present=list, request=lambda client, _: client),
      task=types.SimpleNamespace(images=types.SimpleNamespace(train=[None] * 4, test=None), initial_weights=lambda: 0),
      runtime=types.SimpleNamespace(cohort=lambda *_, **__: contextlib.nullcontext(), WorkerLost=KeyError,
                                    take_faults=lambda: faults.popleft() if faults else []),
      traffic=loop.Traffic(bytes_down=1, bytes_up=1), journal=book, evaluate_personal=None,
      evaluator=types.SimpleNamespace(model=None, evaluate=lambda _: evaluated),
      program=configs.ProgramConfig(rounds=rounds, rounds_per_evaluation=100),
      managers=loop.Managers(checkpoints=types.SimpleNamespace(load_latest=load_latest, save=save), releases=()),
      stop_requested=lambda: False, **{'on_round': lambda record: None, **options}))
  assert len(kept) <= len(outcome.history)
  return outcome, book


def build(sampling, **privacy):
  return plan_lib.build_plan(
      configs.PrivacyConfig(clip_norm=1.0, delta=1e-3, **privacy),
      configs.CohortConfig(cohort_size=4, sampling=sampling), population=4, rounds=6, seed=1)


def test_a_budget_that_lost_clients_use_up_ends_the_run_earlier(tmp_path):
  plan = dataclasses.replace(build('fixed', privacy='distributed_gaussian', noise_multiplier=2.0), value_bits=32,
                             length=10)
  budget = plan.ledger(6)['epsilon']
  lost = Fault('worker', 'gone', (0, 1, 2))
  outcome, book = run(plan, tmp_path, [[], [lost]], stop_at_epsilon=budget)
  charged = plan.charged(book.past())
  done = len(outcome.history)
  # Rounds cost in inverse proportion to the clients that delivered: 1, then 4, and one more fits into six.
  assert done == 3
  assert charged.ledger(done)['epsilon'] <= budget < charged.ledger(done + 1)['epsilon']
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


def resumed(plan, tmp_path, seen, kept, rounds=6, **options):
  """Runs on from the checkpoint of round `kept`, after rounds 1..seen were ended; also returns the rounds' keys."""
  book, keys = journal.Journal(tmp_path / 'journal.jsonl'), []
  for number in range(1, seen + 1):
    book.begin(number)
    book.end(number, 4)
  state = {'server_secret_key': np.zeros(8, np.uint32), 'rest': np.int64(kept)}

  async def load_latest(structure):
    return {**structure, 'state': state, 'history': json.dumps(
        [{'round': number, 'seconds': 1.0} for number in range(1, kept + 1)]).encode()}, kept

  def compute(state, data):
    keys.append(tuple(state['server_secret_key']))
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
  budget = plan.ledger(6)['epsilon'] * 1.001
  outcome, book, _ = resumed(plan, tmp_path, seen=4, kept=2, stop_at_epsilon=budget)
  done = len(outcome.history)
  charged = plan.charged(book.past())
  assert done < 6 and charged.ledger(done)['epsilon'] <= budget
  assert charged.ledger(done + 1)['epsilon'] > budget


def test_a_checkpoint_with_other_kinds_of_numbers_is_refused(tmp_path):
  async def load_latest(structure):
    return {**structure, 'state': {'server_secret_buffers': np.zeros([2, 3], np.float32)},
            'history': b'[{"round": 1, "seconds": 1.0}]'}, 1

  plan = plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(0))
  with pytest.raises(ValueError, match='resume is refused: the checkpoint holds other numbers'):
    run(plan, tmp_path, load_latest=load_latest, first={'server_secret_buffers': np.zeros([2, 3], np.float64)})

"""Honest runs through guards: everything passes, and the weights are those of a run without guards."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.federation import guarded
from tff_vision import configs
from tff_vision.federation import approval, message_sizes, rehearsal, surveying, words
from tff_vision.runtime.driver import runtimes, stub
from tff_vision.runtime.worker import certificate_authority
from tff_vision.runtime.worker.guard import audit, enforcement


@pytest.fixture(scope='module')
def plain(folder):
  """A plan of averaging, and its rehearsal."""
  plan = guarded.plan(folder)
  return plan, rehearsal.rehearse(plan)


def _both_ways(plan, rehearsed, address, tmp_path):
  """Returns weights without and with guards, and the guards' rules."""
  approvals = guarded.approved(plan, rehearsed, tmp_path)
  plain, _ = guarded.trained(plan, guarded.three_names(address), tmp_path)
  watches, logs, own = guarded.enforced(approvals, tmp_path)
  with guarded.sites(address, watches, logs, own) as addresses:
    through, faults = guarded.trained(plan, addresses, tmp_path)
    assert not faults
    assert all(watch.begun[rehearsal.ROUND] == 2 for watch in watches)
    with pytest.raises(stub.RefusedByWorker, match='2 have begun, and 2 are approved|a call came out of order'):
      guarded.trained(plan, addresses, tmp_path, rounds=1)
  return plain, through, [one.rules() for one in approvals]


def test_averaging_through_guards_gives_the_same_bits_and_a_restarted_guard_counts_on(plain, address, tmp_path):
  direct, through, ruled = _both_ways(*plain, address, tmp_path)
  assert all(np.array_equal(a, b) for a, b in zip(direct, through, strict=True))
  log = tmp_path / 'north.jsonl'
  entries, _ = audit.verified(log.read_bytes(), log)
  assert sum(one['what'] == 'begins' and one['activity'] == rehearsal.ROUND for one in entries) == 2
  assert any(one.get('refused', '').startswith('a round of training') for one in entries[-4:])
  assert {one['what'] for one in entries} >= {'approval', 'GetExecutor', 'CreateValue', 'CreateCall', 'Compute'}
  again = audit.Log(log, ruled[0].digest)
  assert enforcement.Enforcement(ruled[0], again).begun[rehearsal.ROUND] == 2
  again.close()
  changed = log.read_text().replace('"bytes_in"', '"bytes_In"', 1)
  log.write_text(changed)
  with pytest.raises(ValueError, match='does not follow from the line before it'):
    audit.Log(log, ruled[0].digest)


@pytest.mark.ci
def test_encrypted_sums_pass_untouched(folder, address, tmp_path):
  """The roundings of two runs with hidden sums differ: by one step of the fixed point, or less, a client and round."""
  plan = guarded.plan(folder, **guarded.HE)
  with pytest.raises(ValueError, match='examples is missing: with a secure sum'):
    rehearsal.rehearse(plan)
  rehearsed = rehearsal.rehearse(plan, guarded.EXAMPLES)
  direct, through, _ = _both_ways(plan, rehearsed, address, tmp_path)
  assert all(np.abs(a - b).max() <= 1e-3 for a, b in zip(direct, through, strict=True))
  begun = [one['activity'] for one in audit.read(tmp_path / 'north.jsonl') if one['what'] == 'begins']
  # Two rounds and an evaluation, each under a key that the sites checked, and opened once. The third round, which is
  # refused, gets as far as a key: it begins as an evaluation does.
  counted = [sum(one.startswith(f'he: {what} ') for one in begun) for what in ('attempt', 'the opening of attempt')]
  assert counted == [4, 3]
  with pytest.raises(ValueError, match='fewest_sites must lie in 2..3, found 4'):
    approval.of(plan, 'north', rehearsed, spare_rounds=0, days=1, fewest_sites=4,
                certificates=guarded.certificates(tmp_path))
  found = approval.read(tmp_path / 'north.json', tmp_path / 'north.crt')
  assert found.examples == guarded.EXAMPLES[:1]  # A worker compares them with its records before it starts.
  said, bound = '\n'.join(words.lines(plan, found, rehearsed)), message_sizes.of_attempt(found, rehearsed)
  assert f'at most {bound:,} bytes of messages leave in each attempt at a sum' in said
  answers, values = (sum(one.get('bytes_out', 0) for one in audit.read(tmp_path / 'north.jsonl')
                         if one['what'] == what) for what in ('Answer', 'Compute'))
  assert 0.5 * 3 * bound < answers <= 4 * bound and values <= found.most_bytes, (answers, bound)
  assert 'encrypt only under the sum of exactly the shares' in said and 'of at least 2 sites and 2 clients' in said


@pytest.mark.ci
def test_example_level_privacy_passes_and_is_paid_for(folder, address, tmp_path):
  plan = guarded.plan(folder, **guarded.EXAMPLE_DP)
  rehearsed = rehearsal.rehearse(plan, guarded.EXAMPLES)
  _, through, ruled = _both_ways(plan, rehearsed, address, tmp_path)
  approved = approval.of(plan, 'north', rehearsed, spare_rounds=1, days=1)
  said = '\n'.join(words.lines(plan, approved, rehearsed))
  assert approved.examples == (guarded.EXAMPLES[0],)
  assert re.search(r'epsilon [0-9.]+ after 2 rounds, and at most [0-9.]+ after the 3 that may begin', said)
  assert all(np.isfinite(one).all() for one in through)
  rounds, epsilon = ruled[0].epsilon[-1]
  assert rounds == 2 and 0 < ruled[0].spent(1) < ruled[0].spent(2) == epsilon < float('inf')
  assert ruled[0].spent(3) == float('inf')


def test_a_plan_that_names_other_computations_is_refused_and_one_that_names_these_is_said_in_words(plain):
  plan, rehearsed = plain
  named = dataclasses.replace(plan, computations=rehearsed.computations)
  found = approval.of(named, 'south', rehearsed, spare_rounds=2, days=1)
  assert not found.examples and found.names == tuple(f'{plan.runtime["worker_data_dir"]}/client_000001.{rest}'
                              for rest in ('tfrecord', 'validation.tfrecord', 'test.tfrecord'))
  # Evaluations of both kinds are one computation in one order; what they read tells them apart.
  reads = {one.name: one.names for one in found.activities}
  assert [reads[name] for name in (rehearsal.ROUND, rehearsal.VALIDATION, rehearsal.TEST)] == [
      (name,) for name in found.names]
  # No other file is counted, or looked for, than those that are trained on.
  assert reads[rehearsal.COUNT] == reads[rehearsal.PRESENT] == found.names[:1]
  said = '\n'.join(words.lines(named, found, rehearsed))
  assert said.count('(as in the plan)') == len(found.computations)
  assert 'a round of training, at most 4 times' in said and 'float[16,3]' in said and 'nothing is promised' in said
  other = dataclasses.replace(plan, computations=(*rehearsed.computations[1:], 64 * '0'))
  with pytest.raises(ValueError, match='2 of the plan.s .* computations differ .*, the first 0000000000000000'):
    approval.of(other, 'south', rehearsed, spare_rounds=2, days=1)
  with pytest.raises(ValueError, match='site=east is none of the plan.s sites, which are north, south, west'):
    approval.of(plan, 'east', rehearsed, spare_rounds=2, days=1)
  assert (pathlib.Path(plan.runtime['worker_data_dir']) / 'client_000001.tfrecord').exists()  # It was not read.
  with pytest.raises(ValueError, match='examples has 2 numbers, and the plan has 3 clients'):
    rehearsal.rehearse(plan, (1, 2))
  personal = guarded.plan('/data', algorithm=configs.AlgorithmConfig(personalize_epochs=1))
  with pytest.raises(ValueError, match='personalize_epochs=1 cannot be rehearsed'):
    rehearsal.rehearse(personal)


@pytest.mark.ci
def test_a_survey_is_approved_by_itself(folder, address, tmp_path):
  plan = guarded.plan(folder)
  watches, _, _ = guarded.enforced(guarded.approved(plan, rehearsal.rehearse_survey(plan), tmp_path), tmp_path)
  with guarded.sites(address, watches) as addresses:
    with runtimes.open_runtime(dataclasses.replace(plan.run_by(), workers=addresses)) as place:
      assert surveying.survey(plan, place, folder=str(folder))['examples'] == sum(guarded.EXAMPLES)
    with pytest.raises(stub.RefusedByWorker, match='is none of the 2 that were approved'):
      guarded.trained(plan, addresses, tmp_path)


_DIGESTS = '''
import sys
from tests.federation import guarded
from tff_vision.federation import rehearsal
for sections in (guarded.EXAMPLE_DP, guarded.HE):
  print(*rehearsal.rehearse(guarded.plan('/data', **sections), guarded.EXAMPLES).computations)
'''


@pytest.mark.ci
def test_two_processes_rehearse_the_same_computations():
  """Beside each other, with other hash tables, and in another order."""
  found = [subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True,
                          cwd=pathlib.Path(__file__).parents[2], env=os.environ | {'PYTHONHASHSEED': seed})
           for seed, script in (('1', _DIGESTS), ('2', _DIGESTS.replace('(guarded.EXAMPLE_DP, guarded.HE)',
                                                                        '(guarded.HE, guarded.EXAMPLE_DP)')))]
  first, second = ([line.split() for line in one.stdout.splitlines() if line] for one in found)
  assert first == second[::-1] and len({*first[0], *first[1]}) > 6


def test_an_approval_that_was_changed_or_is_of_another_key_is_refused(tmp_path):
  certificate_authority.make_authority(tmp_path)
  for site in ('north', 'south'):
    certificate_authority.make_worker(tmp_path, site)
  made = approval.Approval(site='north', plan='p', expires='2031-01-01T00:00:00+00:00', computations=('a',),
                           names=('n',), values=(), activities=(), most_clients=1, most_bytes=5)
  path = tmp_path / 'approved.json'
  approval.write(made, path, tmp_path / 'north.key')
  assert approval.read(path, tmp_path / 'north.crt') == made
  with pytest.raises(ValueError, match='not signed with the key of tls_cert'):
    approval.read(path, tmp_path / 'south.crt')
  content = json.loads(path.read_text())
  content['approval']['most_bytes'] = 6
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match='it was changed'):
    approval.read(path, tmp_path / 'north.crt')

"""Plans with private counts: no number of a client's training examples is in what the coordinator receives or keeps."""

import dataclasses
import re
import struct

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import executor_pb2

from tests import tiny
from tests.federation import guarded
from tff_vision import configs, experiment
from tff_vision.accounting import gdp
from tff_vision.data import records
from tff_vision.federation import approval, private_counts, rehearsal, site_manifest
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker import certificate_authority

COUNTS = (5237, 1091, 2127)
MOST = 6000


def made(folder, counts=True, **sections):
  plan = guarded.plan(folder, **{
      **guarded.MASKS, 'client': configs.ClientConfig(batch_size=500, client_epochs=1), **sections})
  return plan_lib.of(plan.described() | ({'most_examples': MOST} if counts else {}))


@pytest.mark.parametrize(('sections', 'said'), [
    ({'secure': configs.SecureConfig()}, 'needs secure_sum=he or he_keyholder or masks'),
    (guarded.EXAMPLE_DP, 'does not go with privacy=example_dp_sgd: its sampling rates'),
    ({'cohort': configs.CohortConfig(cohort_size=2)}, 'cohort_size=2 takes some of 3: two sums over different'),
    ({'cohort': configs.CohortConfig(cohort_size=3, sampling='poisson')}, 'does not go with sampling=poisson'),
    ({'cohort': configs.CohortConfig(cohort_size=3, dropout_before=0.1)}, 'does not go with dropout_before'),
    ({'algorithm': configs.AlgorithmConfig(algorithm='scaffold')}, 'scaffold needs client_weighting=uniform'),
])
def test_what_would_tell_a_count_or_needs_one_is_refused(sections, said):
  with pytest.raises(ValueError, match=said):
    made('/data', **sections)


def test_the_rest_of_a_plan_and_a_site_with_too_many(tmp_path):
  plan = made('/data')
  for change, said in (({'shares_site_metrics': True}, 'does not go with shares_site_metrics'),
                       ({'runtime': {**plan.runtime, 'min_workers': 2}}, 'does not go with min_workers=2 of 3'),
                       ({'most_examples': 1.5}, 'most_examples must be a whole number')):
    with pytest.raises(ValueError, match=said):
      plan_lib.of(plan.described() | change)
  # Client-level privacy tells no number of examples, whoever takes part.
  made('/data', privacy=configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0),
       cohort=configs.CohortConfig(cohort_size=2, sampling='poisson'))
  # A plan without private counts is written as before there were any, so that its digest is what it was.
  assert 'most_examples' not in made('/data', counts=False).described()
  assert plan_lib.of(plan.described()) == plan and plan.most_examples == MOST
  with pytest.raises(ValueError, match='north-1 has 6001 training images, and the plan has room for .*=6000'):
    private_counts.check_site(MOST, {'north-1': MOST + 1, 'north-2': MOST})
  client = site_manifest.Client(name='north-1', number=0, counts={'train': 7000}, patients={}, classes={})
  manifest = site_manifest.SiteManifest(plan=site_manifest.data_digest(plan), site='north', clients=(client,), files={})
  with pytest.raises(ValueError, match='north-1 has 7000 training images'):
    manifest.check(tmp_path, plan)
  manifest.check(tmp_path)


def _numbers(message, found):
  """Collects the arrays of numbers in a value, at any depth, and the texts."""
  for _, value in message.ListFields():
    repeated = hasattr(value, '__len__') and not isinstance(value, (bytes, str))
    for one in value if repeated else [value]:
      if hasattr(one, 'ListFields'):
        if one.DESCRIPTOR.name == 'Array':
          _values(one, found)
        _numbers(one, found)


def _values(array, found):
  if array.content:
    for kind in (np.int32, np.int64, np.float32, np.float64):
      size = np.dtype(kind).itemsize
      whole = array.content[:len(array.content) // size * size]
      found.append(np.frombuffer(whole, kind))
  for field, value in array.ListFields():
    if field.name.endswith('_list') and hasattr(value, 'value') and not field.name.startswith('string'):
      found.append(np.asarray(list(value.value)))


def told(answers, number):
  """Returns whether a number is an element of anything that was answered."""
  found = []
  for answer in answers:
    _numbers(answer, found)
  with np.errstate(invalid='ignore'):  # Bytes that are no floats may read as a signalling NaN.
    return any((values.astype(np.float64) == number).any() for values in found if values.dtype.kind in 'iuf')


@pytest.fixture
def answers(monkeypatch):
  """Everything that workers answer to fetches."""
  found, request = [], stub.DeadlineStub._request

  def noted(self, method, message, timeout):
    answer = request(self, method, message, timeout)
    if method == 'Compute' and 'local' in self.name:
      found.append(executor_pb2.ComputeResponse.FromString(answer.SerializeToString()))
    return answer

  monkeypatch.setattr(stub.DeadlineStub, '_request', noted)
  return found


def kept(folder, number):
  """Returns the files of a run in which a number stands, as text or in binary."""
  # No digits of a digest: digests have keys that are new in each run, and one of 64 hex digits would have some number
  # once in ten thousand.
  text = re.compile(rf'(?<![\w.]){number}(?!\.?\w)'.encode())
  binary = [struct.pack(kind, number) for kind in ('<i', '<q', '<f', '<d')]
  return [path.name for path in folder.rglob('*') if path.is_file()
          for content in [path.read_bytes()] if text.search(content) or any(one in content for one in binary)]


def write_files(folder):
  folder.mkdir()
  clients = tiny.federated_images(COUNTS).train
  for client in range(3):
    records.write(folder / records.file_name(client), clients.examples(client))
    for split in ('validation', 'test'):
      records.write(folder / records.file_name(client, split), clients.examples(client).take(np.arange(40)))
  return folder


def run(plan, folder):
  folder.mkdir()
  path = folder / 'plan.json'
  path.write_text(plan.to_json())
  return experiment.run(plan.experiment(path), configs.LaunchConfig(run_dir=str(folder / 'run'), keep_secrets=True),
                        runtime=plan.run_by(local_workers=3))


@pytest.mark.ci
def test_under_client_level_privacy_cohorts_may_differ_and_evaluations_are_paid_for(answers, tmp_path):
  """Two rounds, evaluated after each on the validation examples, and the test: three evaluations of each client."""
  plan = made(write_files(tmp_path / 'data'), cohort=configs.CohortConfig(cohort_size=2, sampling='poisson'),
              program=configs.ProgramConfig(rounds=2, rounds_per_evaluation=1, select_best='accuracy'),
              privacy=configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, noise_multiplier=2.0, delta=1e-2,
                                            evaluation_noise_multiplier=0.1, evaluation_most_examples=20))
  answers.clear()
  found = run(plan, tmp_path / 'run').report
  assert not [number for number in (*COUNTS, 40) if told(answers, number)]
  own, whole = found['evaluation_privacy'], found['privacy']
  assert own['unit'] == 'client' and own['rounds'] == 3 and whole['evaluation_noise_multiplier'] == 0.1
  assert own['epsilon'] == pytest.approx(gdp.epsilon(3**0.5 / 0.1, 1e-2)) and own['epsilon'] < whole['epsilon']
  # Each client counts as twenty of its forty examples.
  deviation = 0.1 * 20 * 1.25**0.5
  assert found['federated']['examples'] != 60 and abs(found['federated']['examples'] - 60) < 6 * deviation
  assert 'num_train_examples' not in found['dataset'] and all('examples' not in one for one in found['history'])


@pytest.mark.ci
def test_the_coordinator_receives_and_keeps_no_count_and_trains_with_the_same_weights(answers, tmp_path):
  folder = write_files(tmp_path / 'data')
  plan = made(folder)
  rehearsed = rehearsal.rehearse(plan)
  with pytest.raises(ValueError, match='examples has no effect: with private_counts'):
    rehearsal.rehearse(plan, COUNTS)
  certificate_authority.make_authority(tmp_path / 'pki')
  for site in guarded.SITES:
    certificate_authority.make_worker(tmp_path / 'pki', site)
  approved = approval.of(plan, 'south', rehearsed, spare_rounds=1, days=1, certificates={
      site: tmp_path / 'pki' / f'{site}.crt' for site in guarded.SITES})
  assert rehearsal.COUNT not in {one.name for one in approved.activities}
  assert not any(str(number) in approved.content().decode() for number in COUNTS)

  def trained(plan, name):
    return run(plan, tmp_path / name)

  answers.clear()
  ours = trained(plan, 'private')
  assert len(answers) > 10 and not [number for number in COUNTS if told(answers, number)]
  assert {number: kept(tmp_path / 'private', number) for number in COUNTS} == {number: [] for number in COUNTS}
  # What is told is the sum over all clients.
  assert ours.report['history'][0]['examples'] == sum(COUNTS) and kept(tmp_path / 'private', sum(COUNTS))
  assert 'num_train_examples' not in ours.report['dataset'] and ours.report['federated']['examples'] == 120
  # The weights are those of the numbers of examples, as in a run that knows them.
  answers.clear()
  theirs = trained(made(folder, counts=False, secure=configs.SecureConfig()), 'known')
  assert all(told(answers, number) for number in COUNTS)  # So the search above can find one.
  for mine, yours in zip(ours.model.get_weights(), theirs.model.get_weights(), strict=True):
    np.testing.assert_allclose(mine, yours, atol=1e-3)
  equal = trained(made(folder, counts=False, secure=configs.SecureConfig(),
                       algorithm=configs.AlgorithmConfig(client_weighting='uniform')), 'equal')
  assert max(np.abs(mine - yours).max() for mine, yours in zip(
      equal.model.get_weights(), theirs.model.get_weights(), strict=True)) > 2e-3
  # A client with more than the plan has room for, or without its file, ends the run; its number is not told.
  small = dataclasses.replace(plan, most_examples=5000)
  with pytest.raises(ValueError, match='client 0 has more training examples than the 5000 .*most_examples') as caught:
    trained(small, 'small')
  assert str(COUNTS[0]) not in str(caught.value)
  (folder / records.file_name(1)).unlink()
  with pytest.raises(ValueError, match='the training file of south-1 is not at its worker: with private_counts'):
    trained(plan, 'away')


@pytest.mark.ci
def test_a_coordinator_that_asks_for_the_number_all_the_same_sends_a_computation_that_nobody_approved(tmp_path):
  """The computation that counts is none of those that a private plan runs."""
  plan = made(tmp_path)
  rehearsed = rehearsal.rehearse(plan)
  known = rehearsal.rehearse(made(tmp_path, counts=False), (1, 2, 3))
  assert rehearsal.COUNT in known.sites[0].activities and rehearsal.COUNT not in rehearsed.sites[0].activities
  counting = known.sites[0].computations - rehearsed.sites[0].computations
  assert counting

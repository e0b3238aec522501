"""A keeping process in TFF, here and over several workers, against arithmetic by hand."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.client_state import driver, keeping, store
from tff_vision.configs import runtime_config
from tff_vision.learning import composition
from tff_vision.runtime.driver import remote

WEIGHTS = tff.types.to_type(tff.learning.models.ModelWeights((tff.TensorType(np.float32, [2]),), ()))
DATA = tff.SequenceType(np.float32)
KEPT = tff.types.to_type(collections.OrderedDict(sum=tff.TensorType(np.float32, [2]), turns=np.int32))
ON = tff.FederatedType


@tff.tensorflow.computation
def initial_weights():
  return tff.learning.models.ModelWeights((tf.constant([1.0, 2.0]),), ())


def keeping_work():
  """Each client adds its data to what it keeps and sends that, scaled by the server's model."""
  @tff.tensorflow.computation(WEIGHTS, keeping.data_type(DATA, KEPT))
  def work(weights, data):
    added = data[0].reduce(0.0, lambda a, b: a + b)
    kept = keeping.state_of(data[1])
    kept = collections.OrderedDict(sum=kept['sum'] + added, turns=kept['turns'] + 1)
    sent = (weights.trainable[0] * kept['sum'],)
    return tff.learning.templates.ClientResult(keeping.update(sent, kept), tf.constant(1.0))

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, ON(WEIGHTS, tff.CLIENTS),
                             ON(keeping.data_type(DATA, KEPT), tff.CLIENTS))
  def next_fn(state, weights, data):
    return tff.templates.MeasuredProcessOutput(state, tff.federated_map(work, (weights, data)),
                                               tff.federated_value((), tff.SERVER))

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


class Data:
  def present(self, cohort):
    return cohort

  def request(self, client, round_num):
    return tf.data.Dataset.from_tensor_slices([1.0, 10.0 * client, 100.0 * round_num])


def by_hand(cohorts):
  model, kept = np.array([1.0, 2.0]), collections.defaultdict(float)
  for round_num, cohort in enumerate(cohorts, start=1):
    for client in cohort:
      kept[client] += 1 + 10 * client + 100 * round_num
    if cohort:
      model = model - 1e-3 * np.mean([model * kept[client] for client in cohort], axis=0)
  return model, kept


@pytest.fixture(scope='module')
def made(tff_runtime):
  work = keeping_work()
  assert keeping.keeps(work)
  aggregator = tff.aggregators.MeanFactory(no_nan_division=True).create(
      keeping.sent_type(work), tff.TensorType(np.float32))
  finalizer = tff.learning.templates.build_apply_optimizer_finalizer(
      tff.learning.optimizers.build_sgdm(1e-3), WEIGHTS)
  return composition.compose(initial_weights, work, aggregator, finalizer, reads_server_state=False), work


@pytest.mark.parametrize('workers', [0, 2])
def test_states_come_back_to_their_clients(made, tmp_path, workers):
  process, work = made
  kept = store.Store(tmp_path, keeping.initial_state(work))
  running = driver.KeptStateProcess(process, kept)
  data = driver.NumberedData(Data())
  cohorts = [[0, 2, 3], [2], [], [0, 1, 2], [3, 0]]

  def train(runtime):
    state = running.initialize()
    for round_num, cohort in enumerate(cohorts, start=1):
      if runtime is None:
        state = running.next(state, [data.request(c, round_num) for c in cohort]).state
      else:
        with runtime.cohort(cohort, population=4):
          state = running.next(state, [data.request(c, round_num) for c in cohort]).state
    return np.asarray(running.get_model_weights(state).trainable[0])

  if workers:
    with remote.remote_runtime(runtime_config.RuntimeConfig(runtime='workers', local_workers=workers)) as runtime:
      found = train(runtime)
  else:
    found = train(None)
  model, sums = by_hand(cohorts)
  np.testing.assert_allclose(found, model, rtol=1e-5)
  for client in range(4):
    np.testing.assert_allclose(kept.read(client, 9)['sum'], [sums[client]] * 2)
    assert kept.read(client, 9)['turns'] == sum(client in cohort for cohort in cohorts)
  assert kept.read(4, 9)['turns'] == 0 and not (tmp_path / '000004').exists()

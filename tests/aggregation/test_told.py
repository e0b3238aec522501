"""What leaves a worker, mode by mode: every value of every answer, and what the report says of it.

The tap decodes what workers answer. A test names the shapes that may be among it; anything else, and any number that a
client alone knows, is a leak.
"""

import functools

import numpy as np
import pytest
import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.executors import value_serialization

from tests import tiny
from tests.learning import tiny_experiments
from tests.runtime import recording
from tff_vision import configs, told
from tff_vision.aggregation import secured
from tff_vision.configs import runtime_config
from tff_vision.learning import algorithm, learning_process, local_training
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.driver import remote
from tff_vision.secure.encryption import parameters

SIZES = (1009, 1511, 2003)  # Of clients: numbers that nothing else is.
EVERYONE = range(3)
PARAMETERS = 4 * 4 * 3 + 3
BITS = 18
SHAPES = {(16, 3), (3,)}  # Of the model.
KINDS = {'loss': 4, 'correct': 2, 'examples': 1, 'accuracy_steps': 2, 'weight': 1}  # Integers of 17 bits, and a flag.


class Tapped(recording.RecordingStub):
  """Keeps every value that a worker answers."""

  def __init__(self, channel, *, name, call_timeout):
    super().__init__(channel, name=name, call_timeout=call_timeout)
    self.values = []

  def _request(self, method, message, timeout):
    answer = super()._request(method, message, timeout)
    if method == 'Compute':
      value, _ = value_serialization.deserialize_value(answer.value)
      self.values += map(np.asarray, _leaves(value))
    return answer


def _leaves(value):
  if isinstance(value, tff.structure.Struct | tuple | list):
    for part in value:
      yield from _leaves(part)
  elif isinstance(value, dict):
    yield from _leaves(list(value.values()))
  else:
    yield value


@pytest.fixture(name='taps', scope='module')
def _taps():
  """The recorded connections to workers, filled as they are made."""
  made = []

  def build(channel, *, name, call_timeout):
    made.append(Tapped(channel, name=name, call_timeout=call_timeout))
    return made[-1]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('tff_vision.runtime.driver.stub.DeadlineStub', build)
    yield made


@pytest.fixture(name='place', scope='module')
def _place(taps):
  with remote.remote_runtime(runtime_config.RuntimeConfig(runtime='workers', local_workers=3)) as place:
    yield place


@pytest.fixture(name='task', scope='module')
def _task():
  return tiny.task(sizes=SIZES, client_epochs=1, client_learning_rate=0.1, batch_size=512)


@pytest.fixture(name='exact', scope='module')
def _exact(tff_runtime, task):
  """Each client's own numbers, as its computation has them in the clear, and all of them together."""
  made = secured.build_process(configs.SecureConfig(), _nobody(), _build(task), tells=_tells(task))
  state = made.set_model_weights(made.initialize(), task.initial_weights())
  return {clients: made.next(state, [task.client_element(i, 1) for i in clients])
          for clients in ((0,), (1,), (2,), tuple(EVERYONE))}


def _nobody():
  return plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(3))


def _build(task, algorithm='fedavg', **given):
  return functools.partial(learning_process.build_process, task, algorithm=configs.AlgorithmConfig(algorithm=algorithm),
                           client=task.client, server=configs.ServerConfig(), **given)


def _tells(task):
  return learning_process.tells(task, configs.AlgorithmConfig())


def _plan(task, secure, **privacy):
  if not privacy:
    return _nobody()
  central = privacy['privacy'] == 'client_gaussian'
  cohort = configs.CohortConfig(cohort_size=3, sampling='poisson' if central else 'round_robin')
  config = configs.PrivacyConfig(**{'noise_multiplier': 1.0, 'clip_norm': 1.0, 'delta': 1e-4, **privacy})
  plan = plan_lib.build_plan(config, cohort, population=3, rounds=4, seed=0, sizes=SIZES, client=task.client)
  return plan.for_secure_sum(secure).for_model(task.keras_model(), task.batch_spec[0])


def _round(task, place, taps, secure, plan):
  """Returns a round's output, and the values of each worker's answers."""
  for tap in taps:
    tap.values.clear()
  made = secured.build_process(secure, plan, _build(task, private_training=plan.client_work), tells=_tells(task),
                               place=place)
  state = made.set_model_weights(made.initialize(), task.initial_weights())
  with place.cohort(EVERYONE, population=3):
    output = made.next(state, [task.client_element(i, 1) for i in EVERYONE])
  return made, state, output, [tap.values for tap in taps if tap.name in {worker.name for worker in place.workers}]


def _own(exact):
  """Returns numbers that a client alone knows: its loss, mean and total, its right answers, its examples."""
  found = set(SIZES)
  for client, size in enumerate(SIZES):
    train = exact[client,].metrics['client_work']['train']
    found |= {float(train['loss']), float(train['loss']) * size, round(float(train['accuracy']) * size)}
  return found


def _check_values(answers, allowed, own):
  """Checks every value of every worker: its kind is allowed, and no client's own number is among them."""
  assert len(answers) == 3 and all(answers)
  for values in answers:
    for value in values:
      assert any(fits(value) for fits in allowed), (value.dtype, value.shape, value.ravel()[:8])
      if value.size < parameters.DEGREE:  # Among so many residues any number may occur.
        found = value.astype(np.float64)
        assert not any(np.any(np.abs(found - number) <= 1e-6 * number) for number in own), value


def _of(dtype, *shapes, equal=None):
  return lambda value: (value.dtype == dtype and value.shape in shapes
                        and (equal is None or np.array_equal(value, equal)))


def _hidden(mode, length):
  """Returns the kinds of values that a worker with one client may answer in a secure sum of so many integers."""
  residues = lambda value: (value.dtype == np.int32 and value.ndim >= 2 and value.shape[-1] >= parameters.DEGREE
                            and value.shape[-2] >= 3 and 0.49 < value.mean() / value.max() < 0.51)
  masked = lambda value: value.dtype == np.int32 and value.shape == (length,) and np.abs(value).max() > 2**26
  return [masked if mode == 'masks' else residues, _of(np.int32, (), equal=1), _of(np.int32, (), equal=length)]


def _secure(mode, tmp_path):
  return configs.SecureConfig(secure_sum=mode, secure_clients_max=4, secure_bits=BITS, secure_range=2.0,
                              key_holder_dir=str(tmp_path / 'keys') if mode == 'he_keyholder' else None)


CASES = [('he', {}), ('he_keyholder', {}), ('masks', {}),
         ('masks', {'privacy': 'client_gaussian', 'metrics_noise_multiplier': 1.0}),
         ('masks', {'privacy': 'distributed_gaussian'}), ('masks', {'privacy': 'example_dp_sgd'}),
         ('none', {'privacy': 'local_dp'}), ('none', {'privacy': 'example_dp_sgd'})]


@pytest.mark.parametrize(('mode', 'privacy'), CASES, ids=lambda case: case if isinstance(case, str) else '-'.join(
    map(str, case.values())))
def test_workers_answer_nothing_that_a_client_alone_knows(place, taps, task, exact, tmp_path, mode, privacy):
  secure = _secure(mode, tmp_path)
  plan = _plan(task, secure, **privacy)
  _, _, output, answers = _round(task, place, taps, secure, plan)
  name, measured = privacy.get('privacy', 'none'), output.metrics['client_work']
  told = {'none': ['weight', 'loss', 'correct', 'examples'], 'example_dp_sgd': ['weight'],
          'client_gaussian': ['accuracy_steps'] if 'metrics_noise_multiplier' in privacy else []}.get(name, [])
  length, own = PARAMETERS + sum(KINDS[one] for one in told), _own(exact)
  if mode == 'none':
    # Noised on the client; of the weights, one is a constant and one is public: the number of examples.
    weights = [_of(np.float32, (), equal=size) for size in SIZES] if name == 'example_dp_sgd' else [
        _of(np.float32, (), equal=1)]
    allowed = [_of(np.float32, *SHAPES), *weights]
    own -= set(SIZES) if name == 'example_dp_sgd' else set()
  else:
    allowed = _hidden(mode, length)
    found = secured.describe(secure, plan, parameters_count=PARAMETERS, clients=3, tells=_tells(task))
    assert list(found['hidden']) == ['update', *told] and found['values'] == length
    assert set(found['not_sent']) == {'weight', 'loss', 'correct', 'examples', 'accuracy_steps'} - set(told)
  _check_values(answers, allowed, own)
  if name == 'client_gaussian' and told:
    accuracies = [exact[client,].metrics['client_work']['train']['accuracy'] for client in EVERYONE]
    assert measured['train']['clients'] == 3
    assert measured['train']['accuracy_steps'] == pytest.approx(2**20 * np.sum(accuracies, dtype=np.float64), abs=3)
    assert set(measured['train']) == {'clients', 'accuracy_steps'}
    assert plan.released_metrics(output.metrics, 1)['cohort_size'] != 3
  elif name != 'none':
    assert not measured
  else:
    plain = exact[tuple(EVERYONE)].metrics['client_work']['train']
    assert list(measured['train']) == list(plain)
    assert measured['train']['num_examples'] == plain['num_examples'] == sum(SIZES)
    assert measured['train']['accuracy'] == plain['accuracy']
    # Of each client's sum, half a step of 2^-16 at most, and float32.
    assert measured['train']['loss'] == pytest.approx(plain['loss'], abs=3 * 2**-17 / sum(SIZES) + 1e-7)
    assert measured['train']['loss'].dtype == plain['loss'].dtype


def test_what_clients_keep_comes_back_and_their_weights_do_not(place, taps, tmp_path):
  """FedDyn's server reads the weight of the cohort, which the open sum tells; single weights stay hidden."""
  made = tiny_experiments.experiment('feddyn', sizes=(7, 12, 9), secure=tiny_experiments.hidden('masks', tmp_path))
  trainer = made.prepare(place, client_states=tmp_path)
  for tap in taps:
    tap.values.clear()
  state = trainer.next(trainer.begin(), 1, EVERYONE).state
  answers = [tap.values for tap in taps if tap.name in {worker.name for worker in place.workers}]
  # 19 bits an integer: 24 examples and the weight take one each, 24 x 2^16 right answers two, the loss two and a flag.
  _check_values(answers, [*_hidden('masks', PARAMETERS + 7), _of(np.float32, *SHAPES)], set())
  assert state.finalizer['cohort_weight'] == 0
  assert max(np.abs(part).max() for part in state.finalizer['algorithm']) > 0


@pytest.mark.parametrize('measured', list(told.Measured))
def test_a_client_s_computation_returns_no_number_that_is_not_asked_for(task, measured):
  """By the type of what it returns, before anything is added up."""
  names = {told.Measured.EXACT: ['loss', 'correct', 'examples'], told.Measured.NOISED: ['accuracy_steps'],
           told.Measured.NOTHING: []}[measured]
  work = lambda **beside: local_training.build_client_work(
      task, algorithm.Algorithm(), local_training.LocalOptimization(client=task.client), weighting=None,
      server_state_type=None, beside=told.Beside(measured=measured, **beside)).next.type_signature.result
  hidden = work(hidden=True)
  assert hidden.measurements.member == tff.types.to_type(())
  weight = hidden.result.member.update_weight
  if names:
    assert tff.structure.name_list(weight) == ['weight', 'numbers']
    assert tff.structure.name_list(weight['numbers']) == names
  else:
    assert weight == tff.TensorType(np.float32)
  clear = work()
  assert clear.result.member.update_weight == tff.TensorType(np.float32)
  assert bool(tff.structure.name_list(clear.measurements.member)) == bool(names)


def test_a_weight_that_nothing_hides_is_no_flag(tff_runtime):
  """A client whose training overflows counts as any other where its weight would tell it."""
  task = tiny.task(sizes=(7, 5), client_epochs=9, client_learning_rate=3e38, batch_size=4)

  def weights(weighting):
    work = local_training.build_client_work(
        task, algorithm.Algorithm(), local_training.LocalOptimization(client=task.client), weighting=weighting,
        server_state_type=None, beside=told.Beside(measured=told.Measured.NOTHING))
    results = work.next(work.initialize(), [task.initial_weights()] * 2, [task.client_dataset(i, 1) for i in range(2)])
    return [result.update_weight for result in results.result]

  assert weights(None) == [1, 1]
  assert weights(tff.learning.ClientWeighting.UNIFORM) == [0, 0]

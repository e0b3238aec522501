"""Hidden sums over three workers: the plain result, nothing readable on the wire, and workers that are lost."""

import functools
import os
import signal

import numpy as np
import pytest

from tests import tiny
from tests.learning import tiny_experiments
from tests.runtime import recording, workers
from tff_vision import configs
from tff_vision.aggregation import secured
from tff_vision.configs import runtime_config
from tff_vision.data import records
from tff_vision.learning import client_data, learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.driver import remote
from tff_vision.runtime.tff_internals import handles
from tff_vision.secure import refusal
from tff_vision.secure.encryption import joint_key
from tff_vision.secure.masking import mask_round

SIZES = (7, 12, 9)
BITS = 18
EVERYONE = (0, 1, 2)


@pytest.fixture(name='task', scope='module')
def _task():
  return tiny.task(sizes=SIZES, client_epochs=1, client_learning_rate=0.5)


class Rounds:
  """A process in one mode, one round of it at a time."""

  def __init__(self, task, mode, place, data):
    secure = configs.SecureConfig(secure_sum=mode, secure_clients_max=3, secure_bits=BITS, secure_range=1.0)
    build = functools.partial(learning_process.build_process, task, algorithm=configs.AlgorithmConfig(),
                              client=task.client,
                              server=configs.ServerConfig())
    if isinstance(data, client_data.WorkerData):
      sent = build
      build = lambda **layers: data.read_on_workers(sent(**layers))
    self._process = secured.build_process(
        secure, plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(3)), build, place=place,
        tells=learning_process.tells(task, configs.AlgorithmConfig()))
    self._task = task
    self._data = data

  def moved(self, clients=EVERYONE):
    """Returns how far a round moves the model, as one vector."""
    before = self._task.initial_weights()
    state = self._process.set_model_weights(self._process.initialize(), before)
    output = self._process.next(state, [self._data.request(client, 1) for client in clients])
    weights = self._process.get_model_weights(output.state).trainable
    return np.concatenate([np.ravel(w - v) for w, v in zip(weights, before.trainable, strict=True)])


@pytest.fixture(name='in_the_clear', scope='module')
def _in_the_clear(tff_runtime, task):
  return Rounds(task, 'none', tff_runtime, client_data.SentData(task=task))


@pytest.fixture(name='plain', scope='module')
def _plain(in_the_clear):
  """Clients to what a round over them does, in the clear, here."""
  return {clients: in_the_clear.moved(clients) for clients in (EVERYONE, (0, 1), (0,), (1,), (2,))}


def _bound(clients):
  """Each client's weighted update is off by less than a step of the largest weight."""
  return len(clients) / (2**(BITS - 1) - 1) * max(SIZES) / sum(SIZES[c] for c in clients) + 1e-6


class Tapped(recording.RecordingStub):
  """Also keeps the answers."""

  def __init__(self, channel, *, name, call_timeout):
    super().__init__(channel, name=name, call_timeout=call_timeout)
    self.answers = []

  def _request(self, method, message, timeout):
    answer = super()._request(method, message, timeout)
    self.answers.append(answer.SerializeToString())
    return answer


def _told(tap, update):
  """Returns whether an answer holds a multiple of the vector, as float32 at any offset."""
  wanted = update[:48] / np.linalg.norm(update[:48])  # The kernel of the linear model.
  for answer in tap.answers:
    for offset in range(4):
      values = np.frombuffer(answer[offset:offset + (len(answer) - offset) // 4 * 4], '<f4')
      values = np.where(np.abs(values) < 1e3, np.nan_to_num(values), 0).astype(np.float64)
      if len(values) < len(wanted):
        continue
      along = np.correlate(values, wanted, 'valid')
      norms = np.sqrt(np.correlate(values**2, np.ones(len(wanted)), 'valid'))
      if np.any(np.abs(along) > 0.999 * norms + 1e-12):
        return True
  return False


@pytest.fixture(name='own_workers')
def _own_workers(tmp_path):
  made = [workers.OwnExecutor(tmp_path) for _ in range(3)]
  yield made
  for worker in made:
    worker.kill()


def _runtime(own_workers, data_placement='driver'):
  return remote.remote_runtime(runtime_config.RuntimeConfig(
      runtime='workers', workers=tuple(w.address for w in own_workers), min_workers=2, reconnect_timeout=4.0,
      probe_interval=1.0, data_placement=data_placement))


def _once(monkeypatch, owner, name, action):
  """Calls `action` at the first call of a method, before it."""
  original, done = getattr(owner, name), []

  def patched(self, *args, **named):
    if not done:
      done.append(True)
      action()
    return original(self, *args, **named)

  monkeypatch.setattr(owner, name, patched)


def _killed_and_back(worker):
  worker.kill()
  worker.start()


@pytest.fixture(name='taps')
def _taps(monkeypatch):
  """The recorded connections to workers, filled as they are made."""
  made = []

  def build(channel, *, name, call_timeout):
    made.append(Tapped(channel, name=name, call_timeout=call_timeout))
    return made[-1]

  monkeypatch.setattr('tff_vision.runtime.driver.stub.DeadlineStub', build)
  return made


def _check_taps(taps, own_workers, plain, expected):
  found = [[any(_told(tap, plain[(client,)]) for tap in taps if tap.name == worker.address) for client in EVERYONE]
           for worker in own_workers]
  assert found == (expected * np.eye(3, dtype=bool)).tolist()


@pytest.mark.ci
def test_encrypted_rounds(own_workers, in_the_clear, plain, task, taps, monkeypatch, tmp_path):
  fetched, keys = [], []
  fetch, make = handles.Silo.fetch, joint_key.JointKeys.make
  monkeypatch.setattr(handles.Silo, 'fetch', lambda self, h: fetched.append(h.type_signature) or fetch(self, h))
  monkeypatch.setattr(joint_key.JointKeys, 'make', lambda self, p: keys.append(make(self, p)) or keys[-1])
  data = client_data.SentData(task=task)
  with _runtime(own_workers) as place:
    # The tap works: in the clear every worker tells its own client's update.
    np.testing.assert_allclose(in_the_clear.moved(), plain[EVERYONE], atol=1e-6)
    _check_taps(taps, own_workers, plain, True)
    for tap in taps:
      tap.answers.clear()

    rounds = Rounds(task, 'he', place, data)
    np.testing.assert_allclose(rounds.moved(), plain[EVERYONE], atol=_bound(EVERYONE))
    _check_taps(taps, own_workers, plain, False)
    # What left a worker besides the sum of ciphertexts: public shares and decryption shares, no secret of trits.
    assert len(fetched) == 6 and len({kind.shape[-2:] for kind in fetched}) == 1
    assert place.take_faults() == [] and len(keys) == 1

    # Lost before the clients train, and before the sum is opened: both times with the secret, so with a new key.
    for owner, name in ((rounds._process._process._hiding.__class__, 'next'), (joint_key.RoundKey, 'open_sum')):
      _once(monkeypatch, owner, name, lambda: _killed_and_back(own_workers[1]))
      np.testing.assert_allclose(rounds.moved(), plain[EVERYONE], atol=_bound(EVERYONE))
      assert {fault.clients for fault in place.take_faults()} == {()}
    assert len(keys) == 5 and len({key.public.tobytes() for key in keys}) == 5

    own_workers[2].kill()
    # Where a promise needs three, nothing is opened, whoever asks; the round is no more than refused.
    monkeypatch.setattr(rounds._process._process, '_fewest', 3)
    opened = len(fetched)
    with pytest.raises(refusal.RefusedError, match='secure sum: 2 clients delivered, and 3 are needed for the noise'):
      rounds.moved()
    assert len(fetched) == opened
    monkeypatch.setattr(rounds._process._process, '_fewest', 2)
    np.testing.assert_allclose(rounds.moved(), plain[0, 1], atol=_bound((0, 1)))
    assert (2,) in {fault.clients for fault in place.take_faults()}
    with place.cohort(EVERYONE, population=3):
      np.testing.assert_allclose(rounds.moved(), plain[0, 1], atol=_bound((0, 1)))

    # In the clear too, where what clients keep comes back from each of them.
    keeping = tiny_experiments.experiment('scaffold', sizes=SIZES).prepare(place, client_states=tmp_path / 'states')
    found = []
    for cohort in (EVERYONE, (0, 1)):
      found.append(tiny_experiments.flat(keeping.weights(keeping.next(keeping.begin(), 1, cohort).state).trainable))
    np.testing.assert_array_equal(*found)
    assert [keeping.states.knows(client) for client in EVERYONE] == [True, True, False]


def test_masked_rounds_over_data_on_workers(own_workers, plain, task, taps, monkeypatch, tmp_path):
  for client in EVERYONE:
    records.write(tmp_path / records.file_name(client), task.images.train.examples(client))
  data = client_data.WorkerData(task=task, folder=str(tmp_path))
  with _runtime(own_workers, 'worker') as place:
    rounds = Rounds(task, 'masks', place, data)
    np.testing.assert_allclose(rounds.moved(), plain[EVERYONE], atol=_bound(EVERYONE))
    _check_taps(taps, own_workers, plain, False)
    assert rounds.moved(()) == pytest.approx(0)

    _once(monkeypatch, mask_round.MaskRound, '__init__', own_workers[2].kill)
    np.testing.assert_allclose(rounds.moved(), plain[0, 1], atol=_bound((0, 1)))
    assert (2,) in {fault.clients for fault in place.take_faults()}
    _once(monkeypatch, mask_round.MaskRound, '__init__', own_workers[2].kill)
    monkeypatch.setattr(rounds._process._process._process, '_fewest', 3)
    with pytest.raises(refusal.RefusedError, match='secure sum: 2 clients delivered, and 3 are needed for the noise'):
      rounds.moved()
    monkeypatch.setattr(rounds._process._process._process, '_fewest', 2)
    own_workers[2].start()
    np.testing.assert_allclose(rounds.moved(), plain[EVERYONE], atol=_bound(EVERYONE))
    os.kill(place.pids[0], signal.SIGKILL)  # The coordinator's own executor.
    np.testing.assert_allclose(rounds.moved(), plain[EVERYONE], atol=_bound(EVERYONE))

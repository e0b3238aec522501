"""A hundred streams of calls that differ from an approved round in one place: each is refused, and says why."""

import random

import grpc
from tensorflow_federated.proto.v0 import executor_pb2

from tests.runtime.guard import protocol
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker.guard import audit, recording, service

_SERVICE = '/tensorflow_federated.v0.ExecutorGroup/'
_STEPS = ('CreateCall', 'Compute')


class Replayed:
  """Stands for gRPC's stub of a coordinator and writes down what is sent."""

  def __init__(self, real):
    self.sent = []
    self._real = real

  def __getattr__(self, method):
    def send(request):
      self.sent.append((method, request.SerializeToString()))
      return getattr(self._real, method)(request)
    return send


def honest(made):
  """Returns the (method, request) of one approved round, whose handles are those of a fresh executor."""
  with protocol.executor() as (_, address), grpc.insecure_channel(address) as channel:
    coordinator = protocol.Coordinator(channel, made)
    coordinator.stub = Replayed(coordinator.stub)
    coordinator.silo, coordinator.round = coordinator.open(0), coordinator.open(2)
    coordinator.whole_round()
    return coordinator.stub.sent


def replay(sent, watch, log=None):
  """Sends requests to a fresh executor behind a guard; returns why one was refused, or None, and what came through."""
  with protocol.executor() as (executor, address):
    with service.Guard(address, watch, site='north', log=log).served('127.0.0.1:0') as port:
      with grpc.insecure_channel(f'127.0.0.1:{port}') as channel:
        for method, raw in sent:
          try:
            channel.unary_unary(_SERVICE + method)(raw)
          except grpc.RpcError as error:
            return error, executor.asked
  return None, executor.asked


def changed(sent, rng):
  """Returns the stream with one random change."""
  found = list(sent)
  steps = [place for place, (method, _) in enumerate(found) if method in _STEPS]
  place = rng.choice(steps)
  method, raw = found[place]
  how = rng.choice(['skip', 'twice', 'sooner', 'another', 'again', 'elsewhere'])
  if how == 'skip':
    del found[place]
  elif how == 'twice':
    found.insert(place, found[place])
  elif how == 'sooner':  # Before the step that comes before it.
    before = max([other for other in steps if other < place], default=0)
    found.insert(before, found.pop(place))
  elif how == 'again':  # An earlier step once more, in this place.
    found.insert(place, found[rng.choice(steps)])
  else:
    kind = {'CreateCall': executor_pb2.CreateCallRequest, 'Compute': executor_pb2.ComputeRequest}[method]
    request = kind.FromString(raw)
    reference = request.value_ref if method == 'Compute' else rng.choice([request.function_ref, request.argument_ref])
    if how == 'another':  # Another value, of those that there are by then or a little later.
      reference.id = str(rng.randrange(2 * len(found)))
    else:
      request.executor.id = rng.choice(['', 'clients=9', str(rng.random())])
    found[place] = method, request.SerializeToString()
  return found


def test_a_hundred_changed_streams_are_refused_and_the_honest_one_passes(tmp_path):
  made = protocol.computations()
  with protocol.executor() as (_, address):
    ruled = protocol.recorded(address, made)
  sent, rng = honest(made), random.Random(20)
  watch = recording.Recording()
  with watch.activity('a round'):
    assert replay(sent, watch)[0] is None
  approved = watch.activities['a round'][0]
  tried, harmless, reasons = 0, 0, set()
  while tried < 100:
    stream = changed(sent, rng)
    seen = recording.Recording()
    with seen.activity('a round'):
      why, _ = replay(stream, seen)
    steps = seen.activities.get('a round', [[]])[0]
    if why is None and steps == approved[:len(steps)]:  # As approved, or a round that is given up.
      harmless += 1
      continue
    tried += 1
    path = tmp_path / f'{tried}.jsonl'
    watch, log = protocol.enforced(ruled, path)
    refused, asked = replay(stream, watch, log)
    assert refused is not None, (tried, len(stream))
    if refused.code() is grpc.StatusCode.PERMISSION_DENIED:
      assert (sentence := stub._REFUSAL.search(refused.details())) is not None, refused.details()
      assert audit.read(path)[-1]['refused'] in sentence.group(1)
      reasons.add(sentence.group(1).split(':')[1].strip()[:30])
    else:  # No such executor: as after a restart.
      assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION, refused.details()
    assert asked.count('Compute') <= sum(method == 'Compute' for method, _ in sent)
  assert harmless < 60 and len(reasons) > 4, reasons
  watch, log = protocol.enforced(ruled, tmp_path / 'honest.jsonl')
  assert replay(sent, watch, log)[0] is None and watch.begun == {'a round': 1}
  assert not any('refused' in entry for entry in audit.read(tmp_path / 'honest.jsonl'))

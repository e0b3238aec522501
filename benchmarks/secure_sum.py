"""What hiding updates costs: seconds, bytes and memory of each secure sum, beside plain sums and TenSEAL's CKKS.

    python -m benchmarks.secure_sum --json=FILE [--cases=1200000x3,1200000x50,11000000x3] [--noround]

Bars: encrypted sums at most 0.35 s for a million parameters and client and 18 bytes a parameter; masks at most 0.06 s
for a mask of a million parameters and 4 bytes; a round of the 1.2 M parameter CNN with 3 hospitals x 500 images at
most 1.6 times a plain one; 50 clients x 1.2 M below 1.5 GB in the worker (`he` by phases, `he_keyholder` by sub-cohorts). Each mode runs in turn with the plain sum in one process; the wall times are the best of the repeats, so that
other load on the machine matters least, and the executor's CPU seconds stand beside them.
"""

import collections
import functools
import json
import os
import pathlib
import platform
import resource
import subprocess
import tempfile
import time

from absl import app, flags

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tenseal
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, secure_config, tasks
from tff_vision.aggregation import secured
from tff_vision.data import images
from tff_vision.learning import process
from tff_vision.models import MODELS
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime import handles, runtime_config, runtimes
from tff_vision.secure import (
    fixed_point,
    key_holder,
    key_holder_sum,
    mask_graph,
    mask_round,
    masked_sum,
    parameters,
    phases,
    threshold_sum,
)

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_CASES = flags.DEFINE_list('cases', ['1200000x3', '1200000x50', '11000000x3'], 'Parameters x clients.')
_ROUND = flags.DEFINE_bool('round', True, 'Also train: 3 hospitals, 500 images each.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Repeats; the best counts.')

_ENCODING = fixed_point.Encoding(value_bits=16, value_range=2.0)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  numbers = {'machine': _machine(), 'sums': []}
  for case in _CASES.value:
    length, clients = (int(part) for part in case.split('x'))
    for mode in (_threshold, _phases, _key_holder, _key_holder_in_parts, _masks):
      numbers['sums'].append({'parameters': length, 'clients': clients, **mode(length, clients)})
      print(json.dumps(numbers['sums'][-1]), flush=True)
  numbers['ckks'] = _ckks(1_200_000)
  print(json.dumps(numbers['ckks']), flush=True)
  if _ROUND.value:
    numbers['round'] = _training_round()
    print(json.dumps(numbers['round']), flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')


def _update_computation(length):
  """Returns seed -> update: it stands for local training, and nothing of it crosses a wire."""

  @tff.tensorflow.computation(np.int32)
  def update(seed):
    return tf.clip_by_value(tf.random.stateless_normal([length], tf.stack([seed, 7]), 0.0, 0.1), -2.0, 2.0)

  return update


def _threshold(length, clients):
  params = parameters.threshold_parameters(clients_max=clients, value_bits=16)
  sum_process = threshold_sum.ThresholdSumFactory(params, _ENCODING).create(tff.TensorType(np.float32, [length]))
  found = _measure(sum_process, length, clients, lambda output: output.result)
  return {'mode': 'he', 'bytes_per_parameter': params.bytes_per_value, **found}


def _key_holder_in_parts(length, clients):
  """The same over sub-cohorts of five: the worker holds five ciphertexts at a time, the coordinator adds the sums."""
  return _key_holder(length, clients, runtime=_sub_cohorts(5)) | {'mode': 'he_keyholder, five clients a call'}


def _key_holder(length, clients, runtime=runtime_config.RuntimeConfig()):  # noqa: B008  Frozen.
  params = parameters.key_holder_parameters(clients_max=clients, value_bits=16)
  with tempfile.TemporaryDirectory() as folder:
    holder = key_holder.KeyHolder(pathlib.Path(folder) / 'keys', params)
    upload = key_holder_sum.EncryptedUploadFactory(params, _ENCODING, holder.public_key)
    sum_process = upload.create(tff.TensorType(np.float32, [length]))
    found = _measure(sum_process, length, clients, lambda output: holder.open_sum(
        output.measurements['hidden_sum'], clients, length=length, encoding=_ENCODING), runtime=runtime)
  return {'mode': 'he_keyholder', 'bytes_per_parameter': params.bytes_per_value, **found}


def _masks(length, clients):
  upload = masked_sum.MaskedUploadFactory(_ENCODING, clients_max=clients)
  sum_process = upload.create(tff.TensorType(np.float32, [length]), masked_sum.ROWS_TYPE)
  protocol = [None]

  def rows():
    protocol[0] = mask_round.MaskRound(clients, round_num=1, dropouts=mask_round.Dropouts())
    return [protocol[0].mask_rows(i) for i in range(clients)]

  def opened(output):
    total = protocol[0].unmask(output.measurements['hidden_sum']).astype(np.int64)
    return _ENCODING.decode(tf.constant(total), tf.constant(clients)).numpy()

  found = _measure(sum_process, length, clients, opened, rows)
  masks = mask_graph.default_degree(clients) + 1
  return {'mode': 'masks', 'bytes_per_parameter': 4.0, 'masks_per_client': masks, **found,
          'cpu_seconds_per_mask_per_million': found['cpu_seconds_per_million_per_client'] / masks}


def _measure(sum_process, length, clients, open_sum, weights=None,
             runtime=runtime_config.RuntimeConfig()):  # noqa: B008  Frozen.
  """Times sums of `sum_process`, opened, in turn with plain ones."""
  update = _update_computation(length)
  seeds = tff.FederatedType(np.int32, tff.CLIENTS)
  state_type = sum_process.initialize.type_signature.result

  @tff.federated_computation(seeds)
  def plain(seed):
    return tff.federated_sum(tff.federated_map(update, seed))

  if weights is None:
    @tff.federated_computation(state_type, seeds)
    def hidden(state, seed):
      return sum_process.next(state, tff.federated_map(update, seed))
  else:
    @tff.federated_computation(state_type, seeds, tff.FederatedType(masked_sum.ROWS_TYPE, tff.CLIENTS))
    def hidden(state, seed, rows):
      return sum_process.next(state, tff.federated_map(update, seed), rows)

  with runtimes.open_runtime(runtime) as place:
    everyone = list(range(clients))
    state = sum_process.initialize()
    plain_meter, hidden_meter, open_meter = (_Meter(place.pids) for _ in range(3))
    plain(everyone)
    plain_peak = _peak_mb(place.pids)
    for _ in range(_REPEATS.value + 1):  # The first is warm-up.
      expected = plain_meter.time(lambda: plain(everyone))
      extra = [] if weights is None else [weights()]
      output = hidden_meter.time(functools.partial(hidden, state, everyone, *extra))
      result = open_meter.time(functools.partial(open_sum, output))
    error = float(np.abs(result - expected).max())
    assert error < clients * _ENCODING.step + 1e-3, error
    millions = clients * length / 1e6
    return {
        'plain_seconds': plain_meter.wall, 'seconds': hidden_meter.wall, 'open_seconds': open_meter.wall,
        'seconds_per_million_per_client': (hidden_meter.wall - plain_meter.wall) / millions,
        'cpu_seconds_per_million_per_client': (hidden_meter.cpu - plain_meter.cpu) / millions,
        'largest_error': error, 'worker_peak_mb': _peak_mb(place.pids), 'worker_peak_mb_plain': plain_peak}


def _phases(length, clients):
  """The threshold sum by handles on one worker: what a coordinator of many clients with little memory runs."""
  params = parameters.threshold_parameters(clients_max=clients, value_bits=16)
  steps = threshold_sum.ThresholdSteps(params, _ENCODING, length=length)
  update = _update_computation(length)
  with runtimes.open_runtime(_sub_cohorts(1)) as place:
    silo = handles.Silo(place.workers[0].executor)
    parties = [phases.Party(silo, silo.call(update, np.int32(i))) for i in range(clients)]
    expected = sum(np.asarray(silo.fetch(party.update), np.float64) for party in parties)
    meter = _Meter(place.pids)
    for round_num in range(2):
      result = meter.time(lambda n=round_num: phases.PhasedThresholdSum(steps).sum(parties, n))
    error = float(np.abs(result - expected).max())
    assert error < clients * _ENCODING.step + 1e-3, error
    silo.close()
    return {'mode': 'he by phases', 'bytes_per_parameter': params.bytes_per_value, 'seconds': meter.wall,
            'cpu_seconds_per_million_per_client': meter.cpu / (clients * length / 1e6), 'largest_error': error,
            'worker_peak_mb': _peak_mb(place.pids)}


def _sub_cohorts(clients_per_call):
  return runtime_config.RuntimeConfig(runtime='workers', local_workers=1, clients_per_call=clients_per_call)


def _ckks(length):
  """TenSEAL's CKKS with NVFlare's parameters: encrypt, send, receive and add per client; one decryption."""
  context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
  context.global_scale = 2**40
  values = np.random.default_rng(0).normal(0, 0.1, length)
  started = time.process_time()
  total = tenseal.ckks_vector(context, values)
  sent = total.serialize()
  total += tenseal.ckks_vector_from(context, sent)
  client = time.process_time() - started
  started = time.process_time()
  error = np.abs(np.array(total.decrypt()) - 2 * values).max()
  return {'mode': 'TenSEAL CKKS', 'parameters': length, 'bytes_per_parameter': len(sent) / length,
          'cpu_seconds_per_million_per_client': client / (length / 1e6),
          'open_seconds': time.process_time() - started, 'largest_error': float(error)}


def _training_round():
  """Rounds of the 1.2 M parameter CNN, the modes in turn."""
  rng = np.random.default_rng(0)
  pool = images.Examples(rng.integers(0, 256, [1500, 28, 28, 1], dtype=np.uint8),
                         rng.integers(0, 62, 1500).astype(np.int32))
  clients = [np.arange(start, start + 500) for start in (0, 500, 1000)]
  task = tasks.Task(
      images=images.FederatedImages(
          name='random', class_names=[str(c) for c in range(62)], train=images.ArrayClients(pool, clients, list('abc')),
          test=images.HeldOut(examples=pool, clients=clients)),
      model_builder=MODELS['cnn_dropout'], client=configs.ClientConfig(client_epochs=1), seed=0)
  plan = plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(3))
  build = functools.partial(process.build_process, task, algorithm=configs.AlgorithmConfig(), client=task.client,
                            server=configs.ServerConfig())
  meters, found = collections.OrderedDict(), {}
  with runtimes.open_runtime(runtime_config.RuntimeConfig()) as place, tempfile.TemporaryDirectory() as folder:
    made = {mode: secured.build_process(
        configs.SecureConfig(secure_sum=mode, secure_clients_max=3,
                             key_holder_dir=f'{folder}/keys' if mode == 'he_keyholder' else None),
        plan, build, largest_weight=500) for mode in secure_config.SECURE_SUMS}
    states = {mode: p.set_model_weights(p.initialize(), task.initial_weights()) for mode, p in made.items()}
    meters = {mode: _Meter(place.pids) for mode in made}
    for round_num in range(_REPEATS.value + 1):
      for mode, learning_process in made.items():
        data = [task.client_dataset(i, round_num) for i in range(3)]
        states[mode] = meters[mode].time(lambda p=learning_process, s=states[mode], d=data: p.next(s, d)).state
  for mode, meter in meters.items():
    found[mode] = {'seconds': meter.wall, 'cpu_seconds': meter.cpu, 'times_plain': meter.wall / meters['none'].wall,
                   'cpu_times_plain': meter.cpu / meters['none'].cpu}
  return found


class _Meter:
  """Best wall time, and CPU of executors and this process in the cheapest call; the first call is warm-up."""

  def __init__(self, pids):
    self._pids = pids
    self._calls = 0
    self.wall = self.cpu = float('inf')

  def time(self, fn):
    cpu, started = self._cpu(), time.monotonic()
    result = fn()
    if self._calls:
      self.wall = min(self.wall, time.monotonic() - started)
      self.cpu = min(self.cpu, self._cpu() - cpu)
    self._calls += 1
    return result

  def _cpu(self):
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    for pid in self._pids:
      fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
      total += (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    return total


def _peak_mb(pids):
  """Of the largest executor."""
  return max(int(line.split()[1]) // 1024 for pid in pids
             for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines() if line.startswith('VmHWM'))


def _machine():
  commit = subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, check=False).stdout.strip()
  cpu = next((line.split(':')[1].strip() for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines()
              if line.startswith('model name')), platform.processor())
  return {'cpu': cpu, 'cores': os.cpu_count(), 'commit': commit, 'load': os.getloadavg()[0],
          'python': platform.python_version(), 'tensorflow': tf.__version__}


if __name__ == '__main__':
  app.run(main)

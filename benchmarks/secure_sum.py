"""What hiding updates costs: seconds, bytes and memory of each secure sum, beside plain sums and TenSEAL's CKKS.

    python -m benchmarks.secure_sum --json=FILE [--cases=1200000x3,1200000x50,11000000x3] [--repeats=2] [--noround]

takes about five minutes on two idle cores. Targets: encrypted sums take at most 0.35 s per client and million
parameters, and 16 bytes per parameter; masks take at most 0.06 s per mask of a million parameters, and 4 bytes per
parameter; a round of the 1.2 M parameter CNN with 3 hospitals x 500 images takes at most 1.6 times a plain one; 50
clients x 1.2 M need less than 1.5 GB in the executor. Each mode alternates with the plain sum on its own executor. Wall
times are the best of the repeats, to reduce the effect of other load on the machine; CPU seconds are reported too.
"""

import dataclasses
import functools
import json
import os
import pathlib
import platform
import resource
import tempfile
import time

from absl import app, flags

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tenseal
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from benchmarks import origin
from tff_vision import catalogue, configs
from tff_vision.data import images
from tff_vision.secure import fixed_point, hidden_sum
from tff_vision.secure.encryption import encrypted_sum, joint_key, key_holder, parameters
from tff_vision.secure.masking import mask_graph, mask_round, masked_sum

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_CASES = flags.DEFINE_list('cases', ['1200000x3', '1200000x50', '11000000x3'], 'Parameters x clients.')
_ROUND = flags.DEFINE_bool('round', True, 'Also train: 3 hospitals, 500 images each.')
_REPEATS = flags.DEFINE_integer('repeats', 2, 'Repeats; the best counts.')

_ENCODING = fixed_point.Encoding(value_bits=16, value_range=2.0)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  numbers = {'machine': _machine(), 'sums': []}
  for case in _CASES.value:
    length, clients = (int(part) for part in case.split('x'))
    for mode, prepare in MODES.items():
      numbers['sums'].append({'mode': mode, 'parameters': length, 'clients': clients,
                              **_measure(prepare, length, clients)})
      print(json.dumps(numbers['sums'][-1]), flush=True)
  numbers['ckks'] = _ckks(1_200_000)
  print(json.dumps(numbers['ckks']), flush=True)
  if _ROUND.value:
    numbers['round'] = _training_round()
    print(json.dumps(numbers['round']), flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')


def _update_computation(length):
  """Returns the function seed -> update, which replaces local training; nothing of it is sent over a wire."""

  @tff.tensorflow.computation(np.int32)
  def update(seed):
    return tf.clip_by_value(tf.random.stateless_normal([length], tf.stack([seed, 7]), 0.0, 0.1), -2.0, 2.0)

  return update


def _measure(prepare, length, clients):
  """Times the sums of a mode, including opening, alternating with plain sums."""
  update, seeds = _update_computation(length), tff.FederatedType(np.int32, tff.CLIENTS)

  @tff.federated_computation(seeds)
  def plain(seed):
    return tff.federated_sum(tff.federated_map(update, seed))

  with tv.open_runtime() as place, tempfile.TemporaryDirectory() as folder:
    plain_meter, hidden_meter = (_Meter(place.pids) for _ in range(2))
    plain(list(range(clients)))
    plain_peak = _peak_mb(place.pids)
    hidden, facts = prepare(place, update, length, clients, pathlib.Path(folder))
    for _ in range(_REPEATS.value + 1):  # The first is warm-up.
      expected = plain_meter.time(lambda: plain(list(range(clients))))
      result = hidden_meter.time(hidden)
    error = float(np.abs(result - expected).max())
    assert error < clients * _ENCODING.step + 1e-3, error
    millions = clients * length / 1e6
    cpu = (hidden_meter.cpu - plain_meter.cpu) / millions
    if 'masks_per_client' in facts:
      facts['cpu_seconds_per_mask_per_million'] = cpu / facts['masks_per_client']
    return {'plain_seconds': plain_meter.wall, 'seconds': hidden_meter.wall,
            'seconds_per_million_per_client': (hidden_meter.wall - plain_meter.wall) / millions,
            'cpu_seconds_per_million_per_client': cpu, **facts, 'largest_error': error,
            'worker_peak_mb': _peak_mb(place.pids), 'worker_peak_mb_plain': plain_peak}


def _he(place, update, length, clients, folder):
  """Returns a round of the encrypted sum under a joint key, and its constants."""
  del folder
  params = parameters.threshold_parameters(clients_max=clients, value_bits=16, length=length, rounds=100)
  keys, hidden = joint_key.JointKeys(params, _ENCODING), _encrypted(place, update, params, length, clients)

  def protocol(parties):
    key = keys.make(parties)
    return key.open_sum(hidden(key.public), clients, length)

  return lambda: place.with_parties(clients, protocol), {
      'bytes_per_parameter': params.ciphertext_bytes(length) / length, 'statistical_bits': parameters.decryption_bits(
          params, length=length, openings=parameters.openings_of(100))}


def _key_holder(place, update, length, clients, folder):
  """Returns a round of the encrypted sum under a key holder's key, and its constants."""
  params = parameters.key_holder_parameters(clients_max=clients, value_bits=16)
  holder = key_holder.KeyHolder(folder / 'keys', params)
  hidden = _encrypted(place, update, params, length, clients)
  return (lambda: holder.open_sum(hidden(holder.public_key), clients, length=length, encoding=_ENCODING),
          {'bytes_per_parameter': params.bytes_per_value})


def _encrypted(place, update, params, length, clients):
  """Returns the function public key -> sum of the clients' ciphertexts, with the same calls as a run."""
  hiding = encrypted_sum.EncryptedSumFactory(params, _ENCODING).create(tff.TensorType(np.float32, [length]))

  @tff.federated_computation(hiding.initialize.type_signature.result, tff.FederatedType(np.int32, tff.CLIENTS))
  def hidden(state, seed):
    return hiding.next(state, tff.federated_map(update, seed)).measurements

  def call(public_key):
    with place.limited(encrypted_sum.clients_per_call(params, length)):
      return np.asarray(hidden(encrypted_sum.key_state(public_key), list(range(clients))).total)

  return call


def _masks(place, update, length, clients, folder):
  """Returns a round of the masked sum, and its constants."""
  del place, folder
  hiding = masked_sum.MaskedUploadFactory(_ENCODING, clients_max=clients).create(
      tff.TensorType(np.float32, [length]), masked_sum.ROWS_TYPE)

  @tff.federated_computation(hiding.initialize.type_signature.result, tff.FederatedType(np.int32, tff.CLIENTS),
                             tff.FederatedType(masked_sum.ROWS_TYPE, tff.CLIENTS))
  def hidden(state, seed, rows):
    return hiding.next(state, tff.federated_map(update, seed), rows).measurements

  def one_round():
    protocol = mask_round.MaskRound(clients, round_num=1, dropouts=mask_round.Dropouts())
    found = hidden(hidden_sum.opened_state(), list(range(clients)), [protocol.mask_rows(i) for i in range(clients)])
    total = protocol.unmask(np.asarray(found.total)).astype(np.int64)
    return _ENCODING.decode(tf.constant(total), tf.constant(clients)).numpy()

  return one_round, {'bytes_per_parameter': 4.0, 'masks_per_client': mask_graph.default_degree(clients) + 1}


MODES = {'he': _he, 'he_keyholder': _key_holder, 'masks': _masks}


def _ckks(length):
  """Measures TenSEAL's CKKS with NVFlare's parameters: encrypt, send, receive and add per client; one decryption."""
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
  """Measures rounds of the 1.2 M parameter CNN, alternating between the modes."""
  rng = np.random.default_rng(0)
  pool = images.Examples(rng.integers(0, 256, [1500, 28, 28, 1], dtype=np.uint8),
                         rng.integers(0, 62, 1500).astype(np.int32))
  clients = [np.arange(start, start + 500) for start in (0, 500, 1000)]
  made = tv.Experiment(
      tv.Task(images.FederatedImages(
          name='random', spec=images.ImageSpec.of(pool, list(map(str, range(62)))),
          train=images.ArrayClients(pool, clients, list('abc'))), model='cnn_dropout'),
      client=tv.Client(epochs=1), participation=tv.Fixed(3))
  found = {}
  with tv.open_runtime() as place, tempfile.TemporaryDirectory() as folder:
    trainers = {mode: dataclasses.replace(made, secure_sum=configs.SecureConfig(
        secure_sum=mode, secure_clients_max=3, key_holder_dir=f'{folder}/keys' if mode == 'he_keyholder' else None)
                                          ).prepare(place) for mode in catalogue.names('secure_sum')}
    states = {mode: trainer.begin() for mode, trainer in trainers.items()}
    meters = {mode: _Meter(place.pids) for mode in trainers}
    for round_num in range(1, _REPEATS.value + 2):
      for mode, trainer in trainers.items():
        one_round = functools.partial(trainer.next, states[mode], round_num, range(3))
        states[mode] = meters[mode].time(one_round).state
  for mode, meter in meters.items():
    found[mode] = {'seconds': meter.wall, 'cpu_seconds': meter.cpu, 'times_plain': meter.wall / meters['none'].wall,
                   'cpu_times_plain': meter.cpu / meters['none'].cpu}
  return found


class _Meter:
  """Records the best wall time, and the lowest CPU time of executors and this process; the first call is warm-up."""

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
  """Returns the peak memory of the largest executor, in MB."""
  return max(int(line.split()[1]) // 1024 for pid in pids
             for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines() if line.startswith('VmHWM'))


def _machine():
  return {'cpu': origin.processor(), 'cores': os.cpu_count(), 'commit': origin.commit(), 'load': os.getloadavg()[0],
          'python': platform.python_version(), 'tensorflow': tf.__version__}


if __name__ == '__main__':
  app.run(main)

"""The section `secure_sum` of report.json: what was hidden, from whom, with which parameters and cost."""

import time
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf

from tff_vision import configs
from tff_vision.secure import fixed_point, os_keys, whole_numbers
from tff_vision.secure.encryption import bfv, encrypted_sum, parameters
from tff_vision.secure.encryption.parameters import BfvParameters
from tff_vision.secure.masking import mask_expansion, mask_graph

_UNAUDITED = 'The cryptographic code is unaudited and does not run in constant time.'
# Where one machine ran every party, hiding protected nothing from anybody.
SIMULATION = ('This run simulated all parties on one machine: it demonstrates the protocol and its cost, not secrecy. '
              + _UNAUDITED)
ON_WORKERS = {
    'he': 'Each worker made and kept the secrets of its clients. The coordinator wrote the graphs: this protects from '
          f'one that is honest but curious. {_UNAUDITED}',
    'he_keyholder': 'Updates were encrypted on the workers, but the key holder ran in the coordinator\'s process and '
                    'its key opens each of them: this keeps out eavesdroppers and other workers, and demonstrates the '
                    f'protocol, not secrecy from the coordinator. {_UNAUDITED}',
    'masks': 'Updates were masked on the workers, but the coordinator played the clients\' part of the key agreement, '
             'without signatures, and could unmask each of them: this demonstrates the protocol, not secrecy from the '
             f'coordinator. {_UNAUDITED}',
}


def on_workers(config: configs.SecureConfig, plays: Collection[str] = ()) -> str:
  """Returns what a secure sum protected from whom, in a run whose clients were on workers.

  Args:
    plays: The protocols of which sites played their half themselves.
  """
  if config.secure_sum in plays and config.secure_sum in PLAYED:
    return PLAYED[config.secure_sum]
  return ON_WORKERS[config.secure_sum]


# Where the guards of all sites played their clients' half.
PLAYED = {
    'he': 'The guards of the sites checked keys and added up what was opened, for graphs that their owners approved: '
          'the coordinator got sums over two sites or more, and nothing else, even if it is dishonest, unless a '
          f'site with a changed guard helps it. {_UNAUDITED}',
    'he_keyholder': 'Updates were encrypted at the sites under the key of a key holder that is a service of its own, '
                    'which the sites checked, and the sites signed what left them: the coordinator got sums over as '
                    f'many sites as the key holder asks for, while the two do not work together. {_UNAUDITED}',
    'masks': 'The guards of the sites made keys, shares and masks, for graphs that their owners approved: this hides '
             'each update from the coordinator, also from one that is dishonest, unless more than a third of the sites '
             f'of a round help it. {_UNAUDITED}',
}


def describe_bfv(params: BfvParameters, encoding: fixed_point.Encoding, length: int, *, decrypted_by: str, rounds: int
                 ) -> Mapping[str, Any]:
  """Returns the section for encrypted sums of `length` values over `rounds` rounds."""
  ciphertext = params.ciphertext_bytes(length)
  share = ciphertext // 2 if params.smudging_bits else 0
  return {
      'scheme': 'additive BFV', 'decrypted_by': decrypted_by, 'security_bits': 128,
      'decryption_security': _decryption_security(params, length, rounds), 'ring_degree': params.degree,
      'log2_modulus': params.key_modulus_bits, 'log2_plain_modulus': params.plain_bits,
      'values_per_coefficient': params.values_per_coefficient, 'smudging_bits': params.smudging_bits,
      'clients_max': params.clients_max, **_describe_encoding(encoding, length),
      'bytes_per_client': {'ciphertext': ciphertext, 'decryption_share': share},
      'bytes_per_parameter': ciphertext / length,
      'client_seconds': _encryption_seconds(params, encoding, length)}


def describe_masks(encoding: fixed_point.Encoding, length: int, *, clients: int, clients_max: int,
                   played: bool = False) -> Mapping[str, Any]:
  """Returns the section for masked sums over cohorts of `clients`.

  Args:
    played: Whether sites play their clients' half: then every two clients share a mask, and sites hold the shares.
  """
  degree = max(clients - 1, 0) if played else mask_graph.default_degree(clients)
  return {
      'scheme': 'pairwise masks', 'key_agreement': 'X25519, HKDF-SHA256', 'mask_generator': 'ChaCha20',
      'security_bits': 128, 'neighbours': degree,
      'shares_needed': mask_graph.random_graph(clients, degree).threshold if clients > 1 and not played else None,
      'clients_max': clients_max, **_describe_encoding(encoding, length),
      'bytes_per_client': {'masked_update': 4 * length}, 'bytes_per_parameter': 4.0,
      'client_seconds': _mask_seconds(length, degree + 1)}


def describe_fields(encoding: fixed_point.Encoding, numbers: whole_numbers.WholeNumbers, parameters_count: int, *,
                    known: Collection[str], kept: bool) -> Mapping[str, Any]:
  """Returns how each item that a client knows was sent: hidden, in the clear, or not at all.

  Args:
    numbers: The numbers sent beside an update of `parameters_count` numbers.
    known: The names of all numbers that clients of such a run could report.
    kept: Whether clients keep state between rounds.
  """
  clear = {'attendance': 'which clients take part, and how many of them a worker stands for'}
  if kept:
    clear['kept'] = 'what clients keep between rounds returns to the coordinator, which stores it for them'
  return {
      'hidden': {'update': f'{parameters_count} numbers in steps of {encoding.step:.3g} within '
                           f'{encoding.value_range:.6g} of zero',
                 **{name: f'multiples of {quantity.step:.3g} in {quantity.low:.6g}..{quantity.high:.6g}, exactly added'
                    for name, quantity in numbers.quantities.items()}},
      'not_sent': sorted(set(known) - set(numbers.quantities)), 'in_the_clear': clear}


def _decryption_security(params, length, rounds):
  """Returns the statistical security of opening a sum, and the run for which it is computed."""
  if not params.smudging_bits:
    return {'statistical_bits': None, 'reason': 'the holder of the whole key decrypts alone and returns rounded sums, '
                                                'in which nothing of the ciphertexts\' noise is left'}
  openings = parameters.openings_of(rounds)
  return {'statistical_bits': parameters.decryption_bits(params, length=length, openings=openings),
          'openings': openings, 'coefficients': bfv.num_polynomials(params, length) * params.degree,
          'formula': 'openings * coefficients * (noise deviation + clients_max) / 2^(smudging_bits + 1)',
          'source': 'Asharov et al., EUROCRYPT 2012, Lemma 1, and a union bound'}


def _describe_encoding(encoding, length):
  return {'values': length, 'value_bits': encoding.value_bits, 'value_range': encoding.value_range,
          'step': encoding.step}


def _encryption_seconds(params, encoding, length):
  """Times one chunk of polynomials here and scales up: encryption and, for joint keys, the decryption share."""
  polynomials = params.chunks(length)[1]
  count = polynomials * params.values_per_coefficient * params.degree
  reference = bfv.reference_polynomial(params, tf.constant(0, tf.int64))
  secret, public = bfv.key_share(params, reference, os_keys.kernel_key())

  @tf.function(autograph=False)
  def client(values):
    ciphertext = encrypted_sum.encrypt_values(params, encoding, values, tf.stack([public, reference]))
    if not params.smudging_bits:
      return ciphertext
    return bfv.decryption_share(params, values.shape[0], ciphertext[:, 1], secret[None],
                                os_keys.kernel_keys(1))

  return _seconds(client, tf.zeros([count])) * bfv.num_polynomials(params, length) / polynomials


def _mask_seconds(length, masks):
  count = min(length, 1 << 18)
  rows = tf.zeros([masks, mask_expansion.ROW_WORDS], tf.uint32)
  add = tf.function(mask_expansion.add_masks, autograph=False)
  return _seconds(lambda values: add(values, rows), tf.zeros([count], tf.int32)) * length / count


def _seconds(fn, argument):
  """Returns the seconds of the second call, because the first one traces."""
  fn(argument)
  started = time.monotonic()
  fn(argument)
  return time.monotonic() - started

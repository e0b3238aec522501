"""Sums that no single party can decrypt: in each round the clients make a key that they hold together.

Three phases. Each client makes a secret and a public share on its own machine; the public shares add up to the
round's public key. The clients train and encrypt under it in one TFF computation, whose hidden result is the sum of
the ciphertexts. Then each client multiplies the sum with its secret and hides the product under noise; these shares
open the sum, and nothing else. All are needed (n of n). A secret stays where it was made, as a handle that the
coordinator can name but does not fetch, and is gone after its round; an update never leaves the graph that made it.

Mouchet et al., "Multiparty Homomorphic Encryption from Ring-Learning-with-Errors", 2021, sections 4.1 to 4.3. On
workers that run whatever comes this protects from a coordinator that is honest but curious. Sites with a guard check
the key and the sum that is opened themselves (`site_calls`).
"""

import concurrent.futures
import functools
import secrets
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import protocols
from tff_vision.secure import answers, fixed_point, os_keys
from tff_vision.secure.encryption import bfv, ring, round_keys, site_calls
from tff_vision.secure.encryption.parameters import BfvParameters


class JointKeys(round_keys.RoundKeys):
  """Makes the keys of rounds."""

  def __init__(self, params: BfvParameters, encoding: fixed_point.Encoding):
    self.params = params
    self.encoding = encoding
    self._attempts = site_calls.Attempts(site_calls.JOINT)

    @tff.tensorflow.computation(np.int64, np.int32)
    def make_keys(seed, clients):
      # Each worker computes the reference itself: it is public, and nobody can give it a structure.
      reference = bfv.reference_polynomial(params, seed)
      made, shares = tf.map_fn(lambda key: bfv.key_share(params, reference, key), os_keys.kernel_keys(clients),
                               fn_output_signature=(tf.TensorSpec([params.degree], tf.int32),
                                                    tf.TensorSpec([len(params.primes), params.degree], tf.int32)))
      return made, ring.reduce(tf.reduce_sum(tf.cast(shares, tf.float64), 0), params.primes)

    self._make_keys = make_keys
    self.reference = tf.function(functools.partial(bfv.reference_polynomial, params), autograph=False)
    self.opened = tf.function(self._opened, autograph=False)

  def make(self, parties: Sequence[protocols.Party]) -> 'RoundKey':
    """Returns a fresh key of these parties."""
    seed = secrets.randbits(62)
    by_silo: dict[int, list[protocols.Party]] = {}
    for party in parties:
      by_silo.setdefault(id(party.silo), []).append(party)

    def shares(group):
      silo = group[0].silo
      pair = silo.call(self._make_keys, np.int64(seed), np.int32(len(group)))
      return (silo, silo.select(pair, 0)), silo.fetch(silo.select(pair, 1))

    attempt = self._attempts.next(parties)
    made = _agreed(shares, list(by_silo.values()), attempt)
    b = _added([public for _, public in made], self.params)
    a = self.reference(tf.constant(seed, tf.int64)).numpy()
    return RoundKey(self, np.stack([b, a]), [held for held, _ in made], attempt)

  @functools.lru_cache(4)  # noqa: B019  Lives as long as the process that owns it.
  def share(self, length: int) -> tff.Computation:
    """Returns (c1, secrets) -> decryption share, for vectors of `length`, of the clients whose secrets these are."""
    piece_type = tff.TensorType(np.int32, [None, len(self.params.primes), self.params.degree])

    @tff.tensorflow.computation(piece_type, tff.TensorType(np.int32, [None, self.params.degree]))
    def share(c1, secrets):
      return bfv.decryption_share(self.params, length, c1, secrets, os_keys.kernel_keys(tf.shape(secrets)[0]))

    return share

  def _opened(self, ciphertexts, shares, clients, length):
    total = functools.reduce(lambda left, right: ring.add(left, right, self.params.primes), shares)
    return self.encoding.decode(bfv.decrypt(self.params, ciphertexts[:, 0], total, length), clients)


class RoundKey(round_keys.RoundKey):
  """The key of one round.

  Attributes:
    public: [2, primes, degree] int32, (b, a).
  """

  def __init__(self, keys: JointKeys, public: np.ndarray, held: Sequence[tuple[protocols.Silo, object]],
               attempt: site_calls.SiteAttempt | None = None):
    """Args: `held` are the silos, each with the handle of the secrets in it; `attempt`: of sites that check keys."""
    self.public = public
    self._keys = keys
    self._held = held
    self._attempt = attempt

  def open_sum(self, ciphertexts: np.ndarray, clients: int, length: int) -> np.ndarray:
    """Returns the sum of the values of `clients` clients, [length] float32.

    Args:
      ciphertexts: [polynomials, 2, primes, degree] int32, their sum.
    """
    if not clients:
      return np.zeros([length], np.float32)
    if self._attempt is not None:
      self._attempt.add_up(ciphertexts.shape[1:])
    c1, share = ciphertexts[:, 1], self._keys.share(length)
    pieces = bfv.pieces(self._keys.params, length)

    def shares(silo_and_secrets):
      # A worker computes with one piece while the next is on its way. Added up over there: one share crosses the wire,
      # however many clients the worker stands for.
      silo, held = silo_and_secrets
      return np.concatenate([silo.fetch(handle) for handle in [silo.call(share, c1[piece], held) for piece in pieces]])

    found = [tf.constant(share) for share in answers.side_by_side(shares, self._held)]
    return self._keys.opened(tf.constant(ciphertexts), found, tf.constant(clients), length).numpy()


def _agreed(shares, groups, attempt):
  """Returns the shares of each group, in order; sites that check keys agree on them while they are asked for."""
  if attempt is None:
    return answers.side_by_side(shares, groups)
  with concurrent.futures.ThreadPoolExecutor(len(groups)) as pool:
    waiting = [pool.submit(shares, group) for group in groups]
    with attempt.dropped_on_error():  # A thread that waits for its share ends only when the site is told.
      attempt.agree(lambda: any(one.done() and one.exception() is not None for one in waiting))
      return [one.result() for one in waiting]


def _added(residues, params):
  primes = np.array(params.primes, np.int64)[:, None]
  total = np.zeros([len(params.primes), params.degree], np.int64)
  for one in residues:
    total = (total + one) % primes
  return total.astype(np.int32)

"""The threshold sum over several workers, phase by phase: a secret share never leaves its client's worker.

In one TFF computation over several workers the joint decryption cannot follow the encrypted sum (TFF refuses an
aggregation that depends on another). So the coordinator runs three plain computations on each client's worker:
key share, encryption, decryption share. Secret shares and updates stay there as handles, which the coordinator can
name but does not fetch. It fetches and adds one ciphertext at a time, so its memory does not grow with the number of
clients, and neither does a worker's, beyond the updates themselves.

The coordinator writes the computations: it could fetch a secret. This protects from one that is honest but curious.
"""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import bfv, threshold_sum


class Silo(Protocol):
  """A worker that keeps values between calls, such as `runtime.handles.Silo`; one call at a time."""

  def call(self, computation: tff.Computation, *arguments: object) -> object:
    """Runs the computation on handles or plain values; returns a handle."""

  def select(self, handle: object, index: int) -> object:
    """Returns the handle of one element of a tuple."""

  def fetch(self, handle: object) -> object:
    """Returns the value of a handle."""


@dataclasses.dataclass(frozen=True)
class Party:
  """One client: its worker and the handle of its update there, [length] float32."""
  silo: Silo
  update: object


class PhasedThresholdSum:
  """Sums updates that stay on their workers. One object may serve many rounds."""

  def __init__(self, steps: threshold_sum.ThresholdSteps):
    self._steps = steps
    self._primes = np.array(steps.params.primes, np.int64)[:, None]

  def sum(self, parties: Sequence[Party], round_num: int) -> np.ndarray:
    """Returns the sum of the parties' updates, [length] float32.

    Args:
      parties: Several may share a silo; silos work side by side.
      round_num: Names the public reference polynomial. A failed round may be run again: its keys are fresh.

    Raises:
      ValueError: More parties than the parameters have room for, or one, whose sum would be its update.
    """
    if not 2 <= len(parties) <= self._steps.params.clients_max:
      raise ValueError(f'{len(parties)} clients in a threshold sum; secure_clients_max='
                       f'{self._steps.params.clients_max}, and at least 2.')
    steps, secrets = self._steps, [None] * len(parties)
    references = {}

    def make_key(i, party):
      # Each worker computes the reference itself: it is public, and nobody chooses it.
      if id(party.silo) not in references:
        references[id(party.silo)] = party.silo.call(steps.reference, np.int64(round_num))
      pair = party.silo.call(steps.make_key, references[id(party.silo)])
      secrets[i] = party.silo.select(pair, 0)
      return party.silo.fetch(party.silo.select(pair, 1))

    b = self._add(self._each(parties, make_key))
    total = self._add(self._each(parties, lambda i, party: party.silo.fetch(
        party.silo.call(steps.encrypt, party.update, b, references[id(party.silo)]))))
    c0, c1 = total[:, 0], np.ascontiguousarray(total[:, 1])
    shares = self._add(self._each(parties, lambda i, party: party.silo.fetch(
        party.silo.call(steps.decryption_share, c1, secrets[i]))))
    opened = bfv.decrypt(steps.params, tf.constant(c0), tf.constant(shares), steps.length)
    return steps.encoding.decode(opened, tf.constant(len(parties))).numpy()

  def _add(self, residues: Iterable[np.ndarray]) -> np.ndarray:
    total = 0
    for one in residues:
      total = (np.asarray(one, np.int64) + total) % self._primes
    return total.astype(np.int32)

  def _each(self, parties: Sequence[Party], call: Callable[[int, Party], np.ndarray]) -> Iterable[np.ndarray]:
    """Yields call(i, party) for all parties as they finish; at most two results of a silo wait to be added."""
    by_silo = {}
    for i, party in enumerate(parties):
      by_silo.setdefault(id(party.silo), []).append((i, party))
    queues = [iter(queue) for queue in by_silo.values()]
    with concurrent.futures.ThreadPoolExecutor(len(queues)) as pool:
      running = {pool.submit(call, *next(queue)): queue for queue in queues}
      while running:
        done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
          queue = running.pop(future)
          if (following := next(queue, None)) is not None:
            running[pool.submit(call, *following)] = queue
          yield future.result()

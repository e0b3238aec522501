"""The desk of a key holder: opens sums over enough sites' signed ciphertexts, each once, and nothing else.

Whoever asks hands over the ciphertexts of a round as they left the sites, with what the sites' guards signed about
them. The desk checks the signatures against the certificates of the plan's sites, adds the ciphertexts up itself, and
returns the decrypted sum. What it opens is in its log before it is decrypted, so that no crash makes it forget.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tff_vision.runtime import key_calls
from tff_vision.runtime.worker.guard import audit, ciphertexts, rules, signing
from tff_vision.secure.encryption import key_holder, parameters

_OPENING = 'an opening'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """What the owner of the key allows.

  Attributes:
    fewest_sites: A sum over fewer sites is not opened.
    fewest_clients: A sum over fewer clients is not opened.
    most_openings: Of the whole run, counted over restarts.
  """
  fewest_sites: int = 2
  fewest_clients: int = 2
  most_openings: int

  def __post_init__(self):
    if self.fewest_sites < 2:
      raise ValueError(f'fewest_sites must be at least 2, found {self.fewest_sites}: a sum over one site is that '
                       'site\'s.')


class Desk:
  """Opens sums under one key; several threads may ask.

  Attributes:
    public_key: [2, primes, degree] int32.
  """

  def __init__(self, holder: key_holder.KeyHolder, params: parameters.BfvParameters, *, identity: signing.Identity,
               limits: Limits, log: audit.Log):
    """Initializes the desk.

    Args:
      identity: The key holder's, among the plan's sites.
      log: Of this plan and key; holds what earlier processes opened.
    """
    self.public_key = holder.public_key
    self._holder = holder
    self._params = params
    self._identity = identity
    self._limits = limits
    self._log = log
    self._key = ciphertexts.digest(holder.public_key)
    self._lock = threading.Lock()  # Held while something is noted and opened, and never while somebody is waited for.

  @property
  def opened(self) -> int:
    """How many sums were opened."""
    return self._log.begun(_OPENING)

  def stated_key(self) -> dict[str, Any]:
    """Returns what the key holder signs about its public key. Raises: OSError: It cannot be noted in the log."""
    self._log.write('public key')
    header = self._identity.header(run='', attempt=0, protocol=key_calls.PROTOCOL, phase=key_calls.KEY_PHASE)
    return self._identity.sign(header, {'key': self._key})

  def open(self, run: str, attempt: int, stated: Sequence[Any], came: Iterable[bytes]) -> np.ndarray:
    """Returns the sum, [polynomials, degree] int64, of what the ciphertexts hold.

    Args:
      run, attempt: What the sites signed it for.
      stated: What they signed about their ciphertexts.
      came: These in turn, each [polynomials, 2, primes, degree] int32, little endian; none is read before all
        statements are in order.

    Raises:
      rules.Refused: With the reason; it is in the log.
      OSError: The log cannot be written; nothing is opened.
    """
    with self.noted():
      limits = self._limits
      header = self._identity.header(run=run, attempt=attempt, protocol=key_calls.PROTOCOL, phase=ciphertexts.PHASE)
      found = ciphertexts.stated(self._identity, header, stated, key=self._key, fewest_sites=limits.fewest_sites,
                                 fewest_clients=limits.fewest_clients)
      which, clients = f'attempt {attempt} of run {run}', sum(one.clients for one in found)
      if key_calls.PARTY in (one.site for one in found):
        raise rules.Refused('ciphertexts in the name of the key holder itself.')
      if clients > self._params.clients_max:
        raise rules.Refused(f'a sum over {clients} clients is to be opened, and {self._params.clients_max} are the '
                            'most.')
      halves = [half for one in found for half in one.halves]
      self._check_new(which, halves)
      total = self._added([pair for one in found for pair in one.digests], came)
      with self._lock:
        self._check_new(which, halves)  # Others may have been faster with the same.
        # On disk before anything is decrypted: whatever line a crash leaves as the last, nothing is opened twice.
        for activity in (_OPENING, which, *map(_named, halves)):
          self._log.begin(activity)
        opened = self._holder.decrypted(total)
        self._log.write('sum', activity=f'{which}: {clients} clients of {", ".join(one.site for one in found)}',
                        bytes_out=opened.nbytes)
      return opened

  @contextlib.contextmanager
  def noted(self) -> Iterator[None]:
    """Makes whatever error ends the block a refusal, and writes it into the log.

    Raises:
      rules.Refused: With the reason.
      OSError: The log cannot be written.
    """
    try:
      yield
    except OSError:
      raise
    except Exception as error:
      refused = rules.refusal(error)
      self._log.write('refusal', refused=str(refused))
      raise refused from None

  def _check_new(self, which, halves):
    if self._log.begun(which):
      raise rules.Refused(f'{which} was opened before.')
    if any(self._log.begun(_named(half)) for half in halves):
      raise rules.Refused('a ciphertext was opened before.')
    if self.opened >= self._limits.most_openings:
      raise rules.Refused(f'{self.opened} sums were opened, and {self._limits.most_openings} are allowed.')

  def _added(self, digests, came):
    params, came, total = self._params, iter(came), ciphertexts.Sum(self._params.primes)
    one_size = 2 * len(params.primes) * params.degree * 4
    for expected in digests:
      raw = next(came, b'')
      if not raw or len(raw) % one_size:
        raise rules.Refused(f'a ciphertext of {len(raw)} bytes came, or none; it must be a multiple of {one_size}.')
      one = np.frombuffer(raw, '<i4').reshape(-1, 2, len(params.primes), params.degree)
      if ciphertexts.digests(one) != expected:
        raise rules.Refused('a ciphertext is not the one that its site signed.')
      total.add(one)
    if next(came, None) is not None:
      raise rules.Refused('more ciphertexts came than were signed.')
    return total.total.astype(np.int32)


def _named(half):
  return f'ciphertext {half}'

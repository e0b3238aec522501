"""A site's half of encrypted sums: nothing is encrypted under a key that the site has not checked, and what leaves is
signed.

The coordinator says which key clients encrypt under, as a number in a plain value. The guard shows such numbers to the
protocol here, which compares them with the key that was agreed on for the attempt at a round: the key holder's signed
one, or the sum of the sites' signed shares (`joint_site_keys`). The ciphertexts that leave in that attempt are
remembered, and the site signs them together, once.
"""

import abc
import dataclasses
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_federated.proto.v0 import executor_pb2

from tff_vision.runtime import key_calls, messages
from tff_vision.runtime.tff_internals import tensors
from tff_vision.runtime.worker.guard import audit, ciphertexts, exchange, rules, signing, witness
from tff_vision.secure.encryption import parameters


@dataclasses.dataclass(frozen=True)
class Polynomials:
  """What is remembered of [n, primes, degree] whole numbers."""
  shape: tuple[int, ...]
  digest: str


@dataclasses.dataclass(frozen=True)
class Training:
  """What is remembered of a call in which clients encrypt. Attributes: `clients`: their number."""
  number: int
  clients: int
  call: int


@dataclasses.dataclass
class Attempt:
  """One attempt at a round, or at another sum.

  Attributes:
    run, attempt: As in `signing.Header`.
    number: The guard's number of the activity; None: it has not begun.
    key: The digest of the agreed public key; '': not agreed yet.
    clients: The number of clients whose ciphertexts have left.
    sent: The digests of these ciphertexts.
    own: The sum of their second halves, if somebody will ask for it.
    stated: Whether they are signed, so that no more may leave.
  """
  run: str
  attempt: int
  number: int | None = None
  key: str = ''
  clients: int = 0
  sent: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  own: ciphertexts.Sum | None = None
  stated: bool = False


class SiteKeys(exchange.SiteProtocol, witness.Witness):
  """What both kinds of keys have in common; `protocol` is the name of the secure sum."""
  protocol = ''

  def __init__(self, identity: signing.Identity, log: audit.Log, *, fewest_sites: int = 2, fewest_clients: int = 2,
               may_begin: Callable[[], None] = lambda: None):
    """Initializes the site's half.

    Args:
      log: Remembers attempts over restarts.
      fewest_sites, fewest_clients: The site does not help to open a sum over fewer.
      may_begin: As in `mask_site.MaskSite`.
    """
    self._identity = identity
    self._log = log
    self._fewest_sites = fewest_sites
    self._fewest_clients = fewest_clients
    self._may_begin = may_begin
    self._changed = threading.Condition()
    self._rings = parameters.rings(self.protocol)
    self._current: Attempt | None = None
    self._calls = 0

  def answer(self, phase: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    run, attempt = messages.part(content, 'run', str), messages.part(content, 'attempt', int)
    phases = {ciphertexts.PHASE: self._state, **self.phases()}
    if phase not in phases:
      raise rules.Refused(f'a message {phase!r:.40} of {self.protocol}, which has none.')
    with self._changed:
      answer = phases[phase](run, attempt, content)
      self._changed.notify_all()
      return answer

  @abc.abstractmethod
  def phases(self) -> Mapping[str, Callable[[str, int, Mapping[str, Any]], Mapping[str, Any]]]:
    """Returns what answers to each message but that for ciphertexts; called with the lock held."""

  def fill(self, placeholder: executor_pb2.Value, names: Sequence[str]) -> Hashable:
    raise rules.Refused(f'the site puts no values of its own in for {self.protocol}.')

  def spend(self, token: Hashable, key: str) -> None:
    """Does nothing: there are no such values."""

  def value(self, value: executor_pb2.Value) -> tuple[Hashable, ...]:
    try:
      found = list(tensors.whole_numbers(value))
    except ValueError as error:
      raise rules.Refused(f'a value cannot be read: {error}') from None
    return tuple(seen for one in found for seen in self.seen(one))

  def seen(self, array: np.ndarray) -> tuple[Hashable, ...]:
    """Returns what is remembered of an array: only polynomials matter."""
    if array.ndim == 3 and array.dtype == np.int32 and array.shape[1:] in self._rings:
      return (Polynomials(array.shape, ciphertexts.digest(array)),)
    return ()

  def call(self, seen: Sequence[Hashable], names: Sequence[str], number: int) -> frozenset[Hashable]:
    keys = [one for one in seen if isinstance(one, Polynomials)]
    with self._changed:
      if names and keys:
        return frozenset({self._train(keys, len(names), number)})
      return self.other_call(seen, keys, number)

  def other_call(self, seen: Sequence[Hashable], polynomials: Sequence[Polynomials], number: int
                 ) -> frozenset[Hashable]:
    """A call in which no clients encrypt; called with the lock held."""
    del seen, number
    if polynomials:
      raise rules.Refused('polynomials came for a call that is not for clients.')
    return frozenset()

  def leaves(self, made_by: frozenset[Hashable], answer: bytes, wanted: Callable[[], bool]) -> None:
    for one in made_by:
      if isinstance(one, Training):
        with self._changed:
          self._sent(one, _ciphertext(answer, self._rings))

  def current(self, run: str, attempt: int) -> Attempt:
    """Returns the attempt that a message is about, which must be the latest."""
    self._check_name(run, attempt)
    if self._current is None or (self._current.run, self._current.attempt) != (run, attempt):
      raise exchange.BeginAgain(f'attempt {attempt} of run {run} is not the latest that it takes part in.')
    return self._current

  def check_fresh(self, run: str, attempt: int, what: str = 'attempt') -> None:
    """Refuses an attempt that was begun before, also by an earlier process, or `what` of it; notes it on disk."""
    self._check_name(run, attempt)
    self._may_begin()
    named = f'{self.protocol}: {what} {attempt} of run {run}'
    if self._log.begun(named):
      raise rules.Refused(f'{named} came before, and each is taken part in once.')
    self._log.begin(named)

  def statements(self, now: Attempt, content: Mapping[str, Any]) -> list[ciphertexts.Stated]:
    """Returns what sites signed about ciphertexts of this attempt, if a sum over these may be opened."""
    found = ciphertexts.stated(
        self._identity, self._header(now, ciphertexts.PHASE), messages.part(content, 'stated', list), key=now.key,
        fewest_sites=self._fewest_sites, fewest_clients=self._fewest_clients)
    own = [one for one in found if one.site == self._identity.site]
    if not own or not now.stated or list(own[0].digests) != now.sent:
      raise rules.Refused('a sum is to be opened that has not in it what this site sent.')
    return found

  def _check_name(self, run, attempt):
    """Refuses what no attempt is called, before it gets into the log; to give one up, any name will do."""
    self._identity.header(run=run, attempt=attempt, protocol=self.protocol, phase='attempt')

  def _header(self, now, phase):
    return self._identity.header(run=now.run, attempt=now.attempt, protocol=self.protocol, phase=phase)

  def _train(self, keys, clients, number):
    now = self._current
    if now is None or not now.key or now.stated:
      raise rules.Refused('clients are to encrypt, and no key was agreed on for it.')
    if now.number not in (None, number):
      raise exchange.BeginAgain('clients are to encrypt again, and a key serves one attempt.')
    if any(one.digest != now.key for one in keys):
      raise rules.Refused(f'clients are to encrypt under another key than {self.agreed}.')
    now.number = number
    self._calls += 1
    return Training(number, clients, self._calls)

  # What the agreed key is, in words.
  agreed = 'the agreed one'

  def _sent(self, call, ciphertext):
    now = self._current
    if now is None or now.number != call.number or now.stated:
      raise exchange.BeginAgain('ciphertexts are asked for after their attempt.')
    now.sent.append(ciphertexts.digests(ciphertext))
    now.clients += call.clients
    self.remember(now, ciphertext)

  def remember(self, now: Attempt, ciphertext: np.ndarray) -> None:
    """A ciphertext is about to leave; called with the lock held."""

  def _state(self, run, attempt, content):
    del content
    now = self.current(run, attempt)
    if not now.sent:
      raise exchange.BeginAgain('no ciphertexts have left in this attempt.')
    now.stated = True
    stated = ciphertexts.Stated(self._identity.site, now.clients, now.key, tuple(now.sent))
    return self._identity.sign(self._header(now, ciphertexts.PHASE), stated.content())


class HeldSiteKeys(SiteKeys):
  """Encryption under the key of a key holder, who opens the sums: the key must be the one that it signed."""
  protocol = key_calls.PROTOCOL
  agreed = 'the key holder\'s signed one'

  def phases(self) -> Mapping[str, Callable[[str, int, Mapping[str, Any]], Mapping[str, Any]]]:
    return {key_calls.KEY_PHASE: self._take_key}

  def _take_key(self, run, attempt, content):
    """Takes the key holder's key for an attempt. Its signature is for the plan alone, so that it need not be asked."""
    header = self._identity.header(run='', attempt=0, protocol=self.protocol, phase=key_calls.KEY_PHASE)
    party, stated = self._identity.verified(header, messages.part(content, 'stated', dict))
    if party != key_calls.PARTY:
      raise rules.Refused(f'a public key came that {party} signed, and not the key holder.')
    key = messages.part(stated, 'key', str)
    self.check_fresh(run, attempt)
    self._current = Attempt(run, attempt, key=key)
    return {}


def _ciphertext(answer, rings):
  """Returns the one ciphertext in an answer."""
  found = [one for one in tensors.whole_numbers(executor_pb2.ComputeResponse.FromString(answer).value)
           if one.ndim == 4 and one.shape[1] == 2 and one.shape[2:] in rings]
  if len(found) != 1:
    raise rules.Refused(f'a value with {len(found)} ciphertexts would leave, where one was expected.')
  return found[0]

"""A site's half of joint keys: a share is committed to before it is shown, and one sum opened, of signed ciphertexts.

In each attempt at a round the guard holds its clients' public share back. It signs a commitment first, shows the share
only when it has the commitments of enough sites, and encrypts only under the sum of exactly the shares that were
committed to: nobody chooses a share that depends on another. It lets its clients' secrets be used on one polynomial
vector only, which it has added up itself, from ciphertexts that the sites of the attempt signed.

Mouchet et al., "Multiparty Homomorphic Encryption from Ring-Learning-with-Errors", 2021, section 4.2, on shares that
are chosen last.
"""

import dataclasses
import hashlib
import math
import secrets
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_federated.proto.v0 import executor_pb2

from tff_vision.federation import site_keys
from tff_vision.runtime import messages
from tff_vision.runtime.tff_internals import tensors
from tff_vision.runtime.worker.guard import audit, ciphertexts, exchange, rules, signing
from tff_vision.secure.encryption import reference, site_calls

_HOLD = 600.0  # Seconds for which a share waits to be shown.
_ONE_LOOK = 1.0
_READY_WITHIN = 5.0


@dataclasses.dataclass(frozen=True)
class _Seed:
  """What is remembered of the number that the reference polynomial of a key is made of."""
  seed: int


@dataclasses.dataclass(frozen=True)
class _Keys:
  """What is remembered of a call that makes keys."""
  number: int
  seed: int


@dataclasses.dataclass
class _Held:
  """A share that waits at the guard: [primes, degree], what it is made for, and whether it may leave."""
  made: _Keys
  share: np.ndarray
  may_leave: bool | None = None


@dataclasses.dataclass(kw_only=True)
class _Joint(site_keys.Attempt):
  """Attributes: `opening`: the sum's second half, once it is added up; `opened`: how many polynomials were used."""
  held: _Held
  nonce: bytes
  commitments: dict[str, str] = dataclasses.field(default_factory=dict)
  shares: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  adding: '_Adding | None' = None
  opening: np.ndarray | None = None
  opened: int = 0


class JointSiteKeys(site_keys.SiteKeys):
  """Keys that all sites of an attempt hold together."""
  protocol = site_calls.JOINT
  agreed = 'the sum of the shares that the sites committed to'

  def __init__(self, identity: signing.Identity, log: audit.Log, *, fewest_sites: int = 2, fewest_clients: int = 2,
               may_begin: Callable[[], None] = lambda: None):
    """Args: as of `site_keys.SiteKeys`."""
    super().__init__(identity, log, fewest_sites=fewest_sites, fewest_clients=fewest_clients, may_begin=may_begin)
    self._waiting: _Held | None = None

  def phases(self) -> Mapping[str, Callable[[str, int, Mapping[str, Any]], Mapping[str, Any]]]:
    return {site_calls.COMMITMENT: self._commit, site_calls.REVEAL: self._reveal, site_calls.SHARE: self._take_share,
            site_calls.STATEMENTS: self._take_statements, site_calls.HALF: self._take_half,
            site_calls.DROP: self._drop}

  def seen(self, array: np.ndarray) -> tuple[Hashable, ...]:
    if array.ndim == 0 and array.dtype == np.int64:
      return (_Seed(int(array)),)
    return super().seen(array)

  def other_call(self, seen: Sequence[Hashable], polynomials: Sequence[site_keys.Polynomials], number: int
                 ) -> frozenset[Hashable]:
    if polynomials:
      self._open(polynomials, number)
      return frozenset()
    seeds = [one.seed for one in seen if isinstance(one, _Seed)]
    return frozenset({_Keys(number, seeds[0])}) if len(seeds) == 1 else frozenset()

  def leaves(self, made_by: frozenset[Hashable], answer: bytes, wanted: Callable[[], bool]) -> None:
    super().leaves(made_by, answer, wanted)
    for one in made_by:
      if isinstance(one, _Keys):
        self._hold(one, answer, wanted)

  def remember(self, now: site_keys.Attempt, ciphertext: np.ndarray) -> None:
    now.own = now.own or ciphertexts.Sum(self._rings[ciphertext.shape[2:]])
    now.own.add(ciphertext[:, 1])

  def _hold(self, made, answer, wanted):
    """Keeps a share until it may leave."""
    found = [one for one in tensors.whole_numbers(executor_pb2.ComputeResponse.FromString(answer).value)
             if one.ndim == 2 and one.shape in self._rings]
    if len(found) != 1:
      raise rules.Refused(f'a value with {len(found)} shares of a key would leave, where one was expected.')
    held, until = _Held(made, found[0]), time.monotonic() + _HOLD
    with self._changed:
      if self._waiting is not None:
        self._waiting.may_leave = False
      self._waiting = held
      self._changed.notify_all()
      while held.may_leave is None and wanted() and time.monotonic() < until:
        self._changed.wait(_ONE_LOOK)
      if self._waiting is held:
        self._waiting = None
      if not held.may_leave:
        raise exchange.BeginAgain('a share of a key was asked for, and no attempt at a round showed it.')

  def _commit(self, run, attempt, content):
    del content
    until = time.monotonic() + _READY_WITHIN
    while self._waiting is None and time.monotonic() < until:
      self._changed.wait(_ONE_LOOK)
    if self._waiting is None:
      return {'ready': False}
    self.check_fresh(run, attempt)
    if isinstance(self._current, _Joint) and self._current.held.may_leave is None:
      self._current.held.may_leave = False
    held, self._waiting = self._waiting, None
    now = _Joint(run, attempt, held.made.number, held=held, nonce=secrets.token_bytes(32))
    self._current = now
    now.commitments[self._identity.site] = _commitment(now.nonce, held.made.seed, held.share)
    return {'ready': True, 'signed': self._identity.sign(
        self._header(now, site_calls.COMMITMENT), {'commitment': now.commitments[self._identity.site]})}

  def _reveal(self, run, attempt, content):
    now, own = self.current(run, attempt), self._identity.site
    if now.held.may_leave is not None:
      raise rules.Refused('a share of a key is to be shown twice.')
    signed = self._identity.each(self._header(now, site_calls.COMMITMENT), messages.part(content, 'commitments', list))
    found = {site: messages.part(stated, 'commitment', str) for site, stated in signed.items()}
    if found.get(own) != now.commitments[own]:
      raise rules.Refused('a key is to be made without this site\'s share.')
    if len(found) < self._fewest_sites:
      raise rules.Refused(f'a key of {len(found)} site(s) is to be made, and {self._fewest_sites} are the fewest.')
    now.commitments, now.held.may_leave = found, True
    return self._identity.sign(self._header(now, site_calls.SHARE), {
        'nonce': now.nonce, 'seed': now.held.made.seed, 'share': now.held.share.astype('<i4').tobytes()})

  def _take_share(self, run, attempt, content):
    now = self.current(run, attempt)
    site, stated = self._identity.verified(self._header(now, site_calls.SHARE), messages.part(content, 'signed', dict))
    if not now.held.may_leave or site not in now.commitments or site in now.shares:
      raise rules.Refused(f'the site {site} has not committed itself to a share of this key, or shows it twice.')
    shape = now.held.share.shape
    primes = np.array(self._rings[shape], np.int64)[:, None]
    raw, nonce = messages.part(stated, 'share', bytes), messages.part(stated, 'nonce', bytes)
    if len(raw) != 4 * now.held.share.size:
      raise rules.Refused(f'the share of {site} is of another size than this site\'s.')
    share, seed = np.frombuffer(raw, '<i4').reshape(shape), now.held.made.seed
    if messages.part(stated, 'seed', int) != seed or share.min() < 0 or (share >= primes).any():
      raise rules.Refused(f'the share of {site} is for another key.')
    if _commitment(nonce, seed, share) != now.commitments[site]:
      raise rules.Refused(f'the share of {site} is another than the one that it committed itself to.')
    now.shares[site] = share
    if set(now.shares) == set(now.commitments):
      total = sum(one.astype(np.int64) for one in now.shares.values()) % primes
      public = np.stack([total, reference.polynomial(seed, shape)]).astype(np.int32)
      now.key = ciphertexts.digest(public)
    return {'complete': bool(now.key)}

  def _take_statements(self, run, attempt, content):
    now = self.current(run, attempt)
    if now.adding is not None:
      raise rules.Refused('the ciphertexts of a sum were named before; one sum is opened in an attempt.')
    found = self.statements(now, content)
    if other := sorted({one.site for one in found} - set(now.commitments)):
      raise rules.Refused(f'the site {other[0]} has no share of the key, and is in the sum.')
    now.adding = _Adding([(one.site, half) for one in found if one.site != self._identity.site for half in one.halves],
                         now.own)
    return {}

  def _take_half(self, run, attempt, content):
    now = self.current(run, attempt)
    if now.adding is None:
      raise rules.Refused('parts of ciphertexts came before it was said of which sum.')
    now.adding.take(messages.part(content, 'polynomials', bytes))
    if now.adding.complete:
      now.opening = now.own.total.astype(np.int32)
    return {'complete': now.adding.complete}

  def _open(self, polynomials, number):
    """Lets the secrets be used on the next polynomials of the sum, once."""
    now = self._current
    if now is None or now.number != number or now.opening is None:
      raise rules.Refused('a share of a decryption was asked for, and this site has not added up what is to be opened.')
    if len(polynomials) != 1:
      raise rules.Refused('a share of a decryption was asked for with more than one part of a sum.')
    count = polynomials[0].shape[0]
    part = now.opening[now.opened:now.opened + count]
    if len(part) != count or ciphertexts.digest(part) != polynomials[0].digest:
      raise rules.Refused('a share of a decryption was asked for of something else than the sum of the signed '
                          'ciphertexts, or again.')
    if not now.opened:
      self.check_fresh(now.run, now.attempt, 'the opening of attempt')
    now.opened += count

  def _drop(self, run, attempt, content):
    """Ends an attempt that the coordinator gives up, so that nobody waits for it."""
    del run, attempt, content
    if isinstance(self._current, _Joint) and self._current.held.may_leave is None:
      self._current.held.may_leave = False
    if self._waiting is not None:
      self._waiting.may_leave = False
    self._current = self._waiting = None
    return {}


class _Adding:
  """Adds other sites' halves to a site's own as they come, in parts, and compares each with what its site signed."""

  def __init__(self, expected: list[tuple[str, str]], own: ciphertexts.Sum):
    self._sum = own
    self._head = ciphertexts.head(np.empty(own.total.shape, np.int32))
    self._expected = expected
    self._place = 0
    self._hash = hashlib.sha256(self._head)

  @property
  def complete(self) -> bool:
    return not self._expected

  def take(self, raw: bytes) -> None:
    length, *shape = self._sum.total.shape
    size = 4 * math.prod(shape)
    count = len(raw) // size
    if not self._expected or not raw or len(raw) % size or self._place + count > length:
      raise rules.Refused('parts of a ciphertext came that are of another size, or of none that was signed.')
    self._sum.add_part(np.frombuffer(raw, '<i4').reshape(count, *shape), self._place)
    self._hash.update(raw)
    self._place += count
    if self._place == length:
      site, digest = self._expected.pop(0)
      if self._hash.hexdigest() != digest:
        self._expected = [(site, 'none')]  # Nothing completes it any more.
        raise rules.Refused(f'a ciphertext is not the one that {site} signed.')
      self._place, self._hash = 0, hashlib.sha256(self._head)


def _commitment(nonce: bytes, seed: int, share: np.ndarray) -> str:
  words = b'tff_vision share of a joint key\n' + nonce + seed.to_bytes(8, 'little', signed=True)
  return hashlib.sha256(words + ciphertexts.digest(share.astype(np.int32)).encode()).hexdigest()


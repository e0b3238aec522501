"""The coordinator's part of encrypted sums whose sites check keys and sign ciphertexts themselves (`protocols.Site`).

The coordinator carries messages from site to site and can read them; it can make none of the signed ones. What sites
answer, `federation.site_keys` and `federation.joint_site_keys` say.
"""

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tree

from tff_vision import protocols
from tff_vision.secure import answers

JOINT, HELD = 'he', 'he_keyholder'
COMMITMENT, REVEAL, SHARE = 'commitment', 'reveal', 'share'
KEY, CIPHERTEXTS, STATEMENTS, HALF = 'public key', 'ciphertexts', 'statements', 'half'
DROP = 'drop'
MESSAGE_BYTES = 4 << 20  # Of a part of a ciphertext that is sent on.


class Attempts:
  """Names the attempts of one process at its sums, so that none is named like another."""

  def __init__(self, protocol: str):
    self._protocol = protocol
    self._run = secrets.token_hex(8)
    self._numbers = itertools.count(1)

  def next(self, parties: Sequence[protocols.Party]) -> 'SiteAttempt | None':
    """Returns a new attempt of the parties' sites; None if no site checks keys.

    Raises:
      ValueError: Some sites check keys, and others do not.
    """
    sites = {id(party.site): party.site for party in parties if party.site is not None}
    checking = [site for site in sites.values() if self._protocol in site.plays]
    if not checking:
      return None
    if len(checking) < len(sites) or any(party.site is None for party in parties):
      raise ValueError(f'{", ".join(site.name for site in checking)} check the keys of secure_sum={self._protocol}, '
                       'and other workers do not: every site approves the plan, or none.')
    return SiteAttempt(checking, self._protocol, self._run, next(self._numbers))


class SiteAttempt:
  """One attempt at a sum. Attributes: `run`, `number`: its name."""

  def __init__(self, sites: Sequence[protocols.Site], protocol: str, run: str, number: int):
    self.run = run
    self.number = number
    self._sites = sites
    self._protocol = protocol

  def take_key(self, stated: Mapping[str, Any]) -> None:
    """Tells all sites what the key holder signed about its key."""
    self._all(KEY, lambda site: {'stated': stated})
    self._listen()

  def agree(self, failed: Callable[[], bool]) -> None:
    """Lets the sites agree on a key, while their shares are asked for in other threads.

    Args:
      failed: Whether one of these threads has ended with an error; then there is nothing to wait for.
    """
    def commitment(site):
      while not failed():
        found = self._ask(site, COMMITMENT, {})
        if found.flag('ready'):
          return found.inner('signed').message()
      return None

    commitments = answers.side_by_side(commitment, self._sites)
    if None in commitments:
      return
    shares = [one.message() for one in self._all(REVEAL, lambda site: {'commitments': commitments})]
    answers.side_by_side(lambda site: [self._ask(site, SHARE, {'signed': share}) for share in shares], self._sites)
    self._listen()

  def stated(self, shape: Sequence[int]) -> tuple[list[Any], list[list[np.ndarray]]]:
    """Returns what each site signed about its ciphertexts, and these.

    Args:
      shape: (2, primes, degree).

    Raises:
      WorkerLost: An answer was lost on its way.
    """
    stated = self._all(CIPHERTEXTS, lambda site: {})
    sent = []
    for site, one in zip(self._sites, stated, strict=True):
      digests = one.signed().items('digests')
      found = [leaf for answer in site.heard() for leaf in tree.flatten(answer)
               if getattr(leaf, 'ndim', 0) == 4 and leaf.shape[1:] == tuple(shape)]
      if len(found) != len(digests):
        raise site.WorkerLost(f'site {site.name}: {len(found)} of {len(digests)} answers came.')
      sent.append(found)
    return [one.content for one in stated], sent

  def add_up(self, shape: Sequence[int]) -> None:
    """Lets every site add the sum's second half up, from what all of them sent. Args: as `stated`."""
    stated, sent = self.stated(shape)
    self._all(STATEMENTS, lambda site: {'stated': stated})

    def send(site):
      for other, ciphertexts in zip(self._sites, sent, strict=True):
        for ciphertext in ciphertexts if other is not site else ():
          step = max(1, MESSAGE_BYTES // ciphertext[0, 1].nbytes)
          for start in range(0, len(ciphertext), step):
            part = np.ascontiguousarray(ciphertext[start:start + step, 1], '<i4')
            self._ask(site, HALF, {'polynomials': part.tobytes()})

    answers.side_by_side(send, self._sites)

  def drop(self) -> None:
    """Tells all sites that the attempt is given up; whoever does not hear it notices by itself."""
    for site in self._sites:
      with contextlib.suppress(Exception):
        self._ask(site, DROP, {})

  @contextlib.contextmanager
  def dropped_on_error(self) -> Iterator[None]:
    try:
      yield
    except BaseException:
      self.drop()
      raise

  def _listen(self):
    for site in self._sites:
      site.listen()

  def _all(self, phase, content):
    return answers.side_by_side(lambda site: self._ask(site, phase, content(site)), self._sites)

  def _ask(self, site, phase, content):
    return answers.Answer(site.name, f'{self._protocol}/{phase}', site.ask(
        self._protocol, phase, {'run': self.run, 'attempt': self.number, **content}))

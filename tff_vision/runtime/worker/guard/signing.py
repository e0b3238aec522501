"""Messages that sites sign for each other, and that a coordinator can pass on, hold back, and not make.

A signature covers the plan, the run, the attempt at a round, the protocol, the phase, the site's name and the content.
All but the content are what the reader expects, never what the message says of itself: so a message of another plan,
attempt, phase or site is none.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.runtime import messages
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import rules

# Both come from the network, and go into logs and signatures.
_MOST_RUN, _MOST_ATTEMPTS = 64, 2**53


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
  """What a signature covers beside the content and the site's name.

  Attributes:
    plan: The digest of the plan.
    run: Chosen by the coordinator for one of its processes; at most 64 characters.
    attempt: Counts the attempts at rounds; a site takes part in each of them once. In [0, 2**53).
    protocol: Its name.
    phase: Its name.
  """
  plan: str
  run: str
  attempt: int
  protocol: str
  phase: str

  def signed(self, site: str, content: Any) -> bytes:
    """Returns the bytes that are signed."""
    return messages.encode({**dataclasses.asdict(self), 'site': site, 'content': content})


class Identity:
  """A site among the others: signs with its key, and knows theirs.

  Attributes:
    site: The site's name.
    plan: The digest of the plan.
  """

  def __init__(self, *, site: str, plan: str, key: signatures.Key, peers: Mapping[str, bytes]):
    """Initializes the identity.

    Args:
      peers: For each site of the plan, this one included, its public key (`signatures.public_key`).

    Raises:
      ValueError: The key is not that of this site among the peers.
    """
    if peers.get(site) != key.public:
      raise ValueError(f'the approval names another certificate for the site {site} than that of tls_key.')
    self.site = site
    self.plan = plan
    self._key = key
    self._peers = dict(peers)

  def header(self, *, run: str, attempt: int, protocol: str, phase: str) -> Header:
    """Returns the header of messages under this plan.

    Raises:
      rules.Refused: No attempt is named so.
    """
    if len(run) > _MOST_RUN or not 0 <= attempt < _MOST_ATTEMPTS:
      raise rules.Refused(f'{protocol:.40}, {phase:.40}: a run has a name of at most {_MOST_RUN} characters, and an '
                          f'attempt a number from 0 to {_MOST_ATTEMPTS - 1}.')
    return Header(plan=self.plan, run=run, attempt=attempt, protocol=protocol, phase=phase)

  def sign(self, header: Header, content: Any) -> dict[str, Any]:
    """Returns the message, which `verified` reads."""
    return {'site': self.site, 'content': content, 'signature': self._key.sign(header.signed(self.site, content))}

  def each(self, header: Header, signed: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the contents of several messages by the sites that signed them. Raises: as `verified`; one came twice."""
    found: dict[str, Mapping[str, Any]] = {}
    for message in signed:
      site, content = self.verified(header, message)
      if site in found:
        raise rules.Refused(f'{header.protocol}, {header.phase}: the site {site} is there twice.')
      found[site] = content
    return found

  def verified(self, header: Header, message: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns the site that signed a message, and its content.

    Raises:
      rules.Refused: No site of the plan signed this content for this header, or it is no object.
    """
    try:
      site = messages.part(message, 'site', str)
      signature = messages.part(message, 'signature', bytes)
      covered = header.signed(site, message.get('content'))
    except ValueError as error:
      raise rules.Refused(f'{header.protocol}, {header.phase}: {error}') from None
    if site not in self._peers:
      raise rules.Refused(f'{header.protocol}, {header.phase}: a message in the name of {site!r:.60}, which is no site '
                          'of the plan.')
    if not signatures.made_by(self._peers[site], covered, signature):
      raise rules.Refused(f'{header.protocol}, {header.phase}: the site {site} has not signed this for attempt '
                          f'{header.attempt} of this run; the coordinator made it, changed it, or kept it from another '
                          'time.')
    if not isinstance(message['content'], Mapping):
      raise rules.Refused(f'{header.protocol}, {header.phase}: the site {site} signed something else.')
    return site, message['content']

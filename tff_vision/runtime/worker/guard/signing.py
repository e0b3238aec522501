"""Messages that sites sign for each other, and that a coordinator can pass on, hold back, and not make.

A signature covers the plan, the run, the attempt at a round, the protocol, the phase, the site's name and the content.
All but the content are what the reader expects, never what the message says of itself: so a message of another plan,
attempt, phase or site is none.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_vision.runtime import messages
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import rules


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
  """What a signature covers beside the content and the site's name.

  Attributes:
    plan: The digest of the plan.
    run: Chosen by the coordinator for one of its processes.
    attempt: Counts the attempts at rounds; a site takes part in each of them once.
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
    """Returns the header of messages under this plan."""
    return Header(plan=self.plan, run=run, attempt=attempt, protocol=protocol, phase=phase)

  def sign(self, header: Header, content: Any) -> dict[str, Any]:
    """Returns the message, which `verified` reads."""
    return {'site': self.site, 'content': content, 'signature': self._key.sign(header.signed(self.site, content))}

  def verified(self, header: Header, message: Any) -> tuple[str, Any]:
    """Returns the site that signed a message, and its content.

    Raises:
      rules.Refused: No site of the plan signed this content for this header.
    """
    try:
      site = messages.part(message, 'site', str)
      signature = messages.part(message, 'signature', bytes)
      covered = header.signed(site, message.get('content'))
    except ValueError as error:
      raise rules.Refused(f'{header.protocol}, {header.phase}: {error}') from None
    if site not in self._peers:
      raise rules.Refused(f'{header.protocol}, {header.phase}: a message in the name of {site!r}, which is no site of '
                          'the plan.')
    if not signatures.made_by(self._peers[site], covered, signature):
      raise rules.Refused(f'{header.protocol}, {header.phase}: the site {site} has not signed this for attempt '
                          f'{header.attempt} of this run; the coordinator made it, changed it, or kept it from another '
                          'time.')
    return site, message['content']

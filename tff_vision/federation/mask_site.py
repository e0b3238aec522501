"""A site's half of masked sums, at its guard: keys, shares and masks of all of its clients, against any coordinator.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017, section 6.2: the
variant against a malicious server. What parties do there, sites do here, each for all of its clients of a round: a
client's masking key and the seed of its own mask are shared among the sites. The coordinator passes on signed messages:

1. `advertise`: the site takes part in an attempt that it has not seen, with the participants that it is told, makes
   keys, and signs them together with these participants.
2. `share`: the site reads what every site of the attempt signed; all of them must have been told the same. For each
   other site it seals shares of its clients' secrets, and signs them with the digest of all that it read.
3. `deliver`: the site opens the shares of all others, whose signatures say that they read the same as it did. Every two
   clients of the attempt share a mask: nobody chooses neighbours. Then the guard puts the seeds of a client's masks
   into one computation over its data.
4. `consent`: the site signs one list of the sites whose clients' values are in the sum.
5. `reveal`: with the signatures of `threshold` sites under the same list, the site reveals, once, for each client one
   share: of the seed of its own mask if it is in the list, of its masking key if it is not.

Two lists would need more than `threshold` + `threshold` - n sites that sign both, with n sites in the attempt. Secrets
are never on disk: a guard that was restarted has none, and what number an attempt may have is in the audit log.
"""

import hashlib
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from cryptography import exceptions
from tensorflow_federated.proto.v0 import executor_pb2

from tff_vision.federation import mask_attempt
from tff_vision.runtime import messages
from tff_vision.runtime.tff_internals import placeholders
from tff_vision.runtime.worker.guard import audit, exchange, rules, signing
from tff_vision.secure.masking import site_masks

NAME = site_masks.PROTOCOL


class MaskSite(exchange.SiteProtocol):
  """The site's half."""

  def __init__(self, identity: signing.Identity, log: audit.Log, *, site_of_clients: Mapping[int, str],
               client_of_names: Mapping[str, int], fewest: int, may_begin: Callable[[], None],
               fewest_sites: int = 2):
    """Initializes the site's half.

    Args:
      log: Holds the numbers of the attempts that began.
      site_of_clients: For each client of the plan, its site's name.
      client_of_names: For each name of data of this site's clients, the client.
      fewest, fewest_sites: A sum over fewer clients, or over those of fewer sites, is not opened.
      may_begin: Raises `rules.Refused` or `rules.Away` where nothing may begin.
    """
    self._identity = identity
    self._log = log
    self._site_of_clients = dict(site_of_clients)
    self._client_of_names = dict(client_of_names)
    self._fewest = max(fewest, 2)
    self._fewest_sites = max(fewest_sites, 2)
    self._may_begin = may_begin
    self._lock = threading.RLock()
    self._attempt: mask_attempt.Attempt | None = None
    self._phases = {'status': self._status, 'advertise': self._advertise, 'share': self._share,
                    'deliver': self._deliver, 'present': self._present, 'consent': self._consent,
                    'reveal': self._reveal}

  def answer(self, phase: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    if phase not in self._phases:
      raise rules.Refused(f'{NAME} has no phase {phase!r:.40}.')
    with self._lock:
      return self._phases[phase](content)

  def fill(self, placeholder: executor_pb2.Value, names: Sequence[str]) -> Hashable:
    try:
      placeholders.check(placeholder)
    except ValueError as error:
      raise rules.Refused(str(error)) from None
    with self._lock:
      found = {self._client_of_names.get(name) for name in names}
      client = found.pop() if len(found) == 1 else None
      if client is None:
        raise rules.Refused(f'{NAME}: masks were asked for data that are not those of one client of this site.')
      attempt = self._attempt
      if attempt is None or attempt.held is None:
        raise exchange.BeginAgain('no masks were agreed on since this worker was started.')
      if client not in attempt.own:
        raise rules.Refused(f'{NAME}: client {client} takes no part in attempt {attempt.number}.')
      if client in attempt.handed or attempt.listed is not None:
        raise exchange.BeginAgain(f'client {client} has had its masks of attempt {attempt.number} already.')
      placeholders.fill(placeholder, attempt.rows[client])
      attempt.handed.add(client)
      return attempt.number, client

  def spend(self, token: Hashable, key: str) -> None:
    with self._lock:
      attempt, (number, client) = self._attempt, token
      if attempt is None or attempt.number != number or attempt.listed is not None:
        raise exchange.BeginAgain(f'attempt {number} is over.')
      if (client, key) in attempt.used:
        raise exchange.BeginAgain(f'client {client} has used its masks of attempt {number} already.')
      attempt.used.add((client, key))

  def _status(self, content):
    del content
    return {'attempt': self._log.last(NAME)}

  def _advertise(self, content):
    self._may_begin()
    run, number = messages.part(content, 'run', str), messages.part(content, 'attempt', int)
    told = messages.part(content, 'clients', list)
    header = self._identity.header(run=run, attempt=number, protocol=NAME, phase='advertise')
    if number <= self._log.last(NAME):
      raise rules.Refused(f'{NAME}: attempt {number} was begun before, and no round is run twice under one number.')
    if any(type(one) is not int or one not in self._site_of_clients for one in told) or told != sorted(set(told)):
      raise rules.Refused(f'{NAME}: the participants are no ascending list of clients of the plan.')
    clients = tuple(told)
    sites = tuple(sorted({self._site_of_clients[client] for client in clients}))
    own = tuple(client for client in clients if self._site_of_clients[client] == self._identity.site)
    if len(clients) < self._fewest or len(sites) < self._fewest_sites:
      raise rules.Refused(f'{NAME}: {len(clients)} client(s) of {len(sites)} site(s) would take part, and no sum over '
                          f'fewer than {self._fewest} clients of {self._fewest_sites} sites is opened.')
    if not own:
      raise rules.Refused(f'{NAME}: no client of this site is among the participants.')
    self._log.begin(NAME, number)
    self._attempt = mask_attempt.Attempt(run=run, number=number, clients=clients, sites=sites, own=own)
    said = {'clients': list(clients), **self._attempt.public()}
    self._attempt.advertised = {self._identity.site: said}
    return self._identity.sign(header, said)

  def _share(self, content):
    attempt = self._current(content)
    if attempt.keys is not None:
      raise rules.Refused(f'{NAME}: shares of attempt {attempt.number} were made already.')
    found = self._read('advertise', content, 'advertised')
    self._check_senders(found, attempt.sites, 'advertise')
    if found[self._identity.site] != attempt.advertised[self._identity.site]:
      raise rules.Refused(f'{NAME}: what this site advertised was changed.')
    keys = {}
    for site, said in found.items():
      clients = [client for client in attempt.clients if self._site_of_clients[client] == site]
      if said.get('clients') != list(attempt.clients):
        raise rules.Refused(f'{NAME}: the site {site} was told of other participants than this one; nothing is summed.')
      masking = messages.part(said, 'masking', list)
      _check_keys([*masking, messages.part(said, 'sealing', bytes)], len(clients) + 1, site)
      keys.update(zip(clients, masking, strict=True))
    if len({*keys.values(), *(said['sealing'] for said in found.values())}) < len(keys) + len(found):
      raise rules.Refused(f'{NAME}: two participants have the same key.')
    attempt.keys = keys
    attempt.advertised = found
    attempt.opposite = {site: said['sealing'] for site, said in found.items() if site != self._identity.site}
    attempt.transcript = hashlib.sha256(messages.encode(found)).digest()
    shares = attempt.shares()
    attempt.kept = shares.pop(self._identity.site)
    boxes = []
    for site, parts in shares.items():
      box = self._box(attempt, sender=self._identity.site, reader=site).seal(mask_attempt.packed(parts))
      boxes.append(self._signed('share', {'to': site, 'box': box, 'transcript': attempt.transcript}))
    return {'boxes': boxes}

  def _deliver(self, content):
    attempt = self._current(content)
    if attempt.keys is None or attempt.held is not None:
      raise rules.Refused(f'{NAME}: shares of attempt {attempt.number} came out of order.')
    found = self._read('share', content, 'boxes')
    self._check_senders(found, attempt.opposite, 'share')
    held = dict(attempt.kept)
    for site, said in found.items():
      clients = [client for client in attempt.clients if self._site_of_clients[client] == site]
      if messages.part(said, 'to', str) != self._identity.site:
        raise rules.Refused(f'{NAME}: shares of the site {site} for {said["to"]!r:.40} came here.')
      if messages.part(said, 'transcript', bytes) != attempt.transcript:
        raise rules.Refused(f'{NAME}: the site {site} was told of other keys or participants than this one; nothing '
                            'is summed.')
      try:
        parts = self._box(attempt, sender=site, reader=self._identity.site).open(messages.part(said, 'box', bytes))
      except exceptions.InvalidTag:
        raise rules.Refused(f'{NAME}: the shares of the site {site} were sealed for another key.') from None
      held.update(mask_attempt.unpacked(parts, clients))
    try:
      attempt.rows = {client: attempt.rows_of(client) for client in attempt.own}
    except ValueError:
      raise rules.Refused(f'{NAME}: a participant\'s key is none.') from None
    attempt.held = held
    return {}

  def _present(self, content):
    attempt = self._current(content)
    if {client for client, _ in attempt.used} != set(attempt.own):
      raise exchange.BeginAgain(f'not every client of this site has used its masks of attempt {attempt.number}.')
    return {}

  def _consent(self, content):
    attempt = self._current(content)
    self._present(content)
    listed = messages.part(content, 'uploaded', list)
    if attempt.listed is not None:
      raise rules.Refused(f'{NAME}: this site has signed a list of attempt {attempt.number} already, and signs one.')
    if any(one not in attempt.sites for one in listed) or listed != sorted(set(listed)):
      raise rules.Refused(f'{NAME}: the list of sites in the sum is no ascending list of those of the attempt.')
    if self._identity.site not in listed:
      raise rules.Refused(f'{NAME}: this site is named as one that was lost, and it was not.')
    clients = sum(self._site_of_clients[client] in listed for client in attempt.clients)
    least = max(attempt.threshold, self._fewest_sites)
    if len(listed) < least or clients < self._fewest:
      raise rules.Refused(
          f'{NAME}: the sum would hold {clients} client(s) of {len(listed)} site(s), and a sum of attempt '
          f'{attempt.number} is opened over {self._fewest} clients of {least} sites or more.')
    attempt.listed = tuple(listed)
    return self._signed('consent', {'uploaded': listed, 'transcript': attempt.transcript})

  def _reveal(self, content):
    attempt = self._current(content)
    if attempt.listed is None:
      raise rules.Refused(f'{NAME}: shares were asked for before this site agreed to what is in the sum.')
    if attempt.revealed:
      raise rules.Refused(f'{NAME}: this site has revealed shares of attempt {attempt.number} already, and reveals '
                          'once.')
    found = self._read('consent', content, 'consents')
    for site, said in found.items():
      if site not in attempt.listed or said != {'uploaded': list(attempt.listed), 'transcript': attempt.transcript}:
        raise rules.Refused(f'{NAME}: the site {site} has agreed to another list of sites in the sum than this one.')
    if len(found) < attempt.threshold:
      raise rules.Refused(f'{NAME}: {len(found)} site(s) have signed the list of sites in the sum, and '
                          f'{attempt.threshold} are needed.')
    attempt.revealed = True
    shares = [attempt.held[client][self._site_of_clients[client] not in attempt.listed] for client in attempt.clients]
    attempt.forget()
    return {'shares': shares}

  def _current(self, content):
    """Returns the attempt that a message is about."""
    number, attempt = messages.part(content, 'attempt', int), self._attempt
    self._identity.header(run='', attempt=number, protocol=NAME, phase='attempt')  # Refuses a number that is none.
    if attempt is not None and number == attempt.number:
      return attempt
    last = self._log.last(NAME)
    if number == last:
      raise exchange.BeginAgain(f'this worker was restarted, and has no keys of attempt {number}.')
    raise rules.Refused(f'{NAME}: attempt {number} is not the one that is in progress here, which is {last}.')

  def _read(self, phase, content, name):
    """Returns the signed messages in a list, by the sites that signed them."""
    return self._identity.each(self._header(phase), messages.part(content, name, list))

  def _check_senders(self, found, expected, phase):
    if other := set(found) ^ set(expected):
      raise rules.Refused(f'{NAME}, {phase}: messages of exactly the sites {", ".join(sorted(expected))} are needed; '
                          f'those of {", ".join(sorted(other))} are missing or too many.')

  def _header(self, phase):
    return self._identity.header(run=self._attempt.run, attempt=self._attempt.number, protocol=NAME, phase=phase)

  def _signed(self, phase, content):
    return self._identity.sign(self._header(phase), content)

  def _box(self, attempt, *, sender, reader):
    other = reader if sender == self._identity.site else sender
    try:
      return site_masks.Box(attempt.sealing, attempt.opposite[other], self._header(f'from {sender}').signed(reader, ''))
    except ValueError:
      raise rules.Refused(f'{NAME}: the key of the site {other} is none.') from None


def _check_keys(keys, count, site):
  if len(keys) != count or any(not isinstance(key, bytes) or len(key) != 32 for key in keys):
    raise rules.Refused(f'{NAME}: the site {site} advertised something else than one key for each of its clients.')

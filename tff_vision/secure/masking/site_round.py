"""The coordinator's half of masked sums: over sites that play theirs, or with all clients of a simulation.

Of sites, it has public keys, sealed boxes in passing, the masked sum, and the shares that they reveal; see
`federation.mask_site` for the phases, and for what a site refuses.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import protocols
from tff_vision.secure import answers, fixed_point
from tff_vision.secure.masking import mask_expansion, mask_protocol, mask_round, shamir, site_masks

_KEY_BYTES = 32  # Of X25519.


class SiteRound:
  """One attempt at a round.

  Attributes:
    clients: The numbers of the clients, ascending.
  """

  def __init__(self, parties: Sequence[protocols.Party], run: str):
    """Runs the phases up to the delivery of shares: the sites then have their masks.

    Args:
      run: Names the coordinator's process.

    Raises:
      ValueError: A site refuses, or another plan was approved there.
      BeginAgain, WorkerLost: See `protocols.Site`.
    """
    self._clients_of: dict[str, list[int]] = {}
    sites: dict[str, protocols.Site] = {}
    for party in parties:
      site = _checked(party)
      if sites.setdefault(site.name, site) is not site:
        raise ValueError(f'two workers say that they are the site {site.name}; start each with its own approval.')
      self._clients_of.setdefault(site.name, []).append(party.client)
    if len(plans := {site.plan for site in sites.values()}) > 1:
      said = '; '.join(f'{name} {site.plan[:16]}' for name, site in sorted(sites.items()))
      raise ValueError(f'the sites have approved {len(plans)} different plans: {said}.')
    self._sites = dict(sorted(sites.items()))
    self.clients = sorted(client for clients in self._clients_of.values() for client in clients)
    self._threshold = site_masks.threshold(len(sites))
    self._attempt = 0  # It is not asked about one.
    self._attempt = 1 + max(answer.whole('attempt') for answer in self._all('status', lambda name: {}).values())
    advertised = self._all('advertise', lambda name: {'run': run, 'clients': self.clients})
    self._keys = {}
    for name, answer in advertised.items():
      clients = sorted(self._clients_of[name])
      keys = answer.signed().byte_strings('masking', count=len(clients), size=_KEY_BYTES)
      self._keys.update(zip(clients, keys, strict=True))
    told = [answer.content for answer in advertised.values()]
    boxes: dict[str, list[Any]] = {name: [] for name in self._sites}
    for answer in self._all('share', lambda name: {'advertised': told}).values():
      for box in answer.each('boxes'):
        boxes.setdefault(box.signed().text('to'), []).append(box.content)
    self._all('deliver', lambda name: {'boxes': boxes[name]})

  def unmask(self, masked_sum: np.ndarray, clients: int) -> np.ndarray:
    """Returns the sum of the values of `clients` clients modulo 2**32, [n] uint32, from that of the masked values.

    Raises:
      LostClientsError: It cannot be said whose values the sum holds.
      ValueError: A site refuses.
      BeginAgain, WorkerLost: Too few sites answer; nothing was opened.
    """
    uploaded = list(self._sites)
    if clients != len(self.clients):
      uploaded = list(self._answers(uploaded, 'present', {}, least=0))
      if sum(len(self._clients_of[name]) for name in uploaded) != clients or len(uploaded) < self._threshold:
        raise mask_round.LostClientsError(
            f'the masked sum holds {clients} clients of {len(self.clients)}, and {len(uploaded)} of '
            f'{len(self._sites)} sites are there; nothing was opened, run the round again.')
    consents = self._answers(uploaded, 'consent', {'uploaded': uploaded})
    revealed = self._answers(list(consents), 'reveal', {'consents': [one.message() for one in consents.values()]})
    holders = {name: place for place, name in enumerate(self._sites)}
    shares = {holders[name]: answer.byte_strings('shares', count=len(self.clients), size=shamir.SHARE_BYTES)
              for name, answer in revealed.items()}
    there = {client for name in uploaded for client in self._clients_of[name]}
    rows = []
    for place, client in enumerate(self.clients):
      secret = shamir.join({holder: found[place] for holder, found in shares.items()}, threshold=self._threshold)
      if client in there:
        rows.append(mask_protocol.self_row(secret))
        continue
      key = mask_protocol.private_key(secret)
      for other in sorted(there):
        row = mask_protocol.pair_row(key, self._keys[other], me=client, other=other, round_num=self._attempt)
        row[mask_expansion.SEED_WORDS] ^= 1  # As the other client added it.
        rows.append(row)
    return mask_expansion.remove_masks(masked_sum.view(np.uint32), rows)

  def _ask(self, name, phase, content):
    return answers.Answer(name, f'{site_masks.PROTOCOL}/{phase}', self._sites[name].ask(
        site_masks.PROTOCOL, phase, {'attempt': self._attempt, **content}))

  def _all(self, phase, content) -> dict[str, answers.Answer]:
    """Returns the answers of all sites; `content`: takes a site's name."""
    names = list(self._sites)
    return dict(zip(names, answers.side_by_side(lambda name: self._ask(name, phase, content(name)), names),
                    strict=True))

  def _answers(self, names, phase, content, least=None) -> dict[str, answers.Answer]:
    """Returns the answers of the sites that are there; raises what was raised if fewer than `least` are."""
    def ask(name):
      site = self._sites[name]
      try:
        return self._ask(name, phase, content)
      except (site.WorkerLost, site.BeginAgain) as error:
        return error

    asked = dict(zip(names, answers.side_by_side(ask, names), strict=True))
    found = {name: answer for name, answer in asked.items() if isinstance(answer, answers.Answer)}
    lost = [answer for answer in asked.values() if not isinstance(answer, answers.Answer)]
    if lost and len(found) < (self._threshold if least is None else least):
      raise lost[0]
    return found


class MaskDriver:
  """Drives masked sums round by round for `hidden_sum.HiddenSumProcess`: key agreement, seeds, unmasking.

  Where the clients of a round are at sites that make their masks themselves, these do; elsewhere this process plays
  all clients (`mask_round`).
  """

  def __init__(self, encoding: fixed_point.Encoding, *, fewest: int = 2,
               dropouts: Callable[[int], mask_round.Dropouts] = mask_round.no_dropouts):
    """Args: As `mask_round.MaskDriver`."""
    self._encoding = encoding
    self._simulated = mask_round.MaskDriver(encoding, fewest=fewest, dropouts=dropouts)
    self._run = secrets.token_hex(16)
    self._parties: Sequence[protocols.Party] = ()
    self._round: SiteRound | None = None

  def over(self, parties: Sequence[protocols.Party]) -> None:
    """Says whose data `client_data` will be given next."""
    self._parties = parties

  def client_data(self, datasets: Sequence[Any]) -> Sequence[tuple[Any, tf.data.Dataset]]:
    """Begins a round: returns each client's data, with its mask seeds or with a placeholder for them.

    Raises:
      ValueError: A site refuses, or only some clients are at sites that make masks themselves.
      TooFewClientsError: Too few clients are left to mask or to unmask.
      BeginAgain, WorkerLost: See `protocols.Site`.
    """
    self._round = None
    if not datasets or all(not _plays(party) for party in self._parties):
      return self._simulated.client_data(datasets)
    self._round = SiteRound(self._parties, self._run)
    nothing = tf.data.Dataset.from_tensor_slices(np.zeros([1, mask_expansion.ROW_WORDS], np.uint32))
    return [(data, nothing) for data in datasets]

  def open_sum(self, masked: np.ndarray, clients: int) -> np.ndarray:
    """Ends the round: returns the sum of the clients' values, float32. Raises: as `SiteRound.unmask`."""
    if self._round is None:
      return self._simulated.open_sum(masked, clients)
    total = self._round.unmask(np.asarray(masked), clients).astype(np.int64)
    return self._encoding.decode(tf.constant(total), tf.constant(clients)).numpy()


def _plays(party):
  return party.site is not None and site_masks.PROTOCOL in party.site.plays


def _checked(party):
  if not _plays(party):
    raise ValueError('some sites make their masks themselves, and the worker of client '
                     f'{party.client} does not: it was started without an approval of this plan.')
  return party.site

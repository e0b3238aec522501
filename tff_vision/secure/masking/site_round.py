"""The coordinator's half of masked sums: over sites that play theirs, or with all clients of a simulation.

Of sites, it has public keys, sealed boxes in passing, the masked sum, and the shares that they reveal; see
`federation.mask_site` for the phases, and for what a site refuses.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import protocols
from tff_vision.secure import fixed_point
from tff_vision.secure.masking import mask_expansion, mask_protocol, mask_round, shamir, site_masks


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
      sites[site.name] = site
      self._clients_of.setdefault(site.name, []).append(party.client)
    if len(plans := {site.plan for site in sites.values()}) > 1:
      said = '; '.join(f'{name} {site.plan[:16]}' for name, site in sorted(sites.items()))
      raise ValueError(f'the sites have approved {len(plans)} different plans: {said}.')
    self._sites = dict(sorted(sites.items()))
    self.clients = sorted(client for clients in self._clients_of.values() for client in clients)
    self._threshold = site_masks.threshold(len(sites))
    self._attempt = 1 + max(site.ask(site_masks.PROTOCOL, 'status', {})['attempt'] for site in sites.values())
    advertised = self._all('advertise', {'run': run, 'clients': self.clients})
    self._keys = {client: key for name, said in advertised.items()
                  for client, key in zip(sorted(self._clients_of[name]), said['content']['masking'], strict=True)}
    boxes = [box for one in self._all('share', {'advertised': list(advertised.values())}).values()
             for box in one['boxes']]
    for name in self._sites:
      self._ask(name, 'deliver', {'boxes': [box for box in boxes if box['content']['to'] == name]})

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
    revealed = self._answers(list(consents), 'reveal', {'consents': list(consents.values())})
    holders = {name: place for place, name in enumerate(self._sites)}
    there = {client for name in uploaded for client in self._clients_of[name]}
    rows = []
    for place, client in enumerate(self.clients):
      secret = shamir.join({holders[name]: answer['shares'][place] for name, answer in revealed.items()},
                           threshold=self._threshold)
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
    return self._sites[name].ask(site_masks.PROTOCOL, phase, {'attempt': self._attempt, **content})

  def _all(self, phase, content):
    return {name: self._ask(name, phase, content) for name in self._sites}

  def _answers(self, names, phase, content, least=None) -> dict[str, Mapping[str, Any]]:
    """Returns the answers of the sites that are there; raises what was raised if fewer than `least` are."""
    found, lost = {}, None
    for name in names:
      site = self._sites[name]
      try:
        found[name] = self._ask(name, phase, content)
      except (site.WorkerLost, site.BeginAgain) as error:
        lost = error
    if lost is not None and len(found) < (self._threshold if least is None else least):
      raise lost
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

"""What a site holds in one attempt at a round of masked sums; see `mask_site`. Nothing of it is ever on disk."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tff_vision.secure.masking import mask_protocol, shamir, site_masks


@dataclasses.dataclass(kw_only=True, repr=False)
class Attempt:
  """One attempt at a round.

  Attributes:
    clients: Of all sites, ascending.
    sites: Those that have clients in it, ascending; site i of them holds share i.
    own: This site's clients.
    sealing: The key to which others seal shares.
    masking, seeds: For each own client, its masking key, and the seed of its own mask. All are drawn here.
    keys: For each client, its public masking key; None: not told yet.
    transcript: The digest of all that was advertised.
    opposite: For each other site, its public sealing key.
    kept: For each own client, this site's shares of its seed and of its masking key.
    held: The same for each client; None: not delivered yet.
    rows: For each own client, the rows for `mask_expansion.add_masks`; as `held`.
    handed, used: The own clients whose seeds were put into a value, and the calls that used this value.
    listed: The sites in the list that was signed; None: none was signed.
    revealed: Whether shares were revealed.
  """
  run: str
  number: int
  clients: tuple[int, ...]
  sites: tuple[str, ...]
  own: tuple[int, ...]
  advertised: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  keys: Mapping[int, bytes] | None = None
  transcript: bytes = b''
  opposite: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
  kept: Mapping[int, tuple[bytes, bytes]] = dataclasses.field(default_factory=dict)
  held: Mapping[int, tuple[bytes, bytes]] | None = None
  rows: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
  handed: set[int] = dataclasses.field(default_factory=set)
  used: set[tuple[int, str]] = dataclasses.field(default_factory=set)
  listed: tuple[str, ...] | None = None
  revealed: bool = False

  def __post_init__(self):
    self.sealing = X25519PrivateKey.generate()
    self.masking = {client: X25519PrivateKey.generate() for client in self.own}
    self.seeds = {client: os.urandom(shamir.SECRET_BYTES) for client in self.own}

  @property
  def threshold(self) -> int:
    return site_masks.threshold(len(self.sites))

  def public(self) -> dict[str, Any]:
    """Returns the public keys."""
    return {'sealing': _public(self.sealing), 'masking': [_public(self.masking[client]) for client in self.own]}

  def shares(self) -> dict[str, dict[int, tuple[bytes, bytes]]]:
    """Returns for each site, for each own client, shares of its seed and of its masking key."""
    found: dict[str, dict[int, tuple[bytes, bytes]]] = {site: {} for site in self.sites}
    for client in self.own:
      seeds, keys = (shamir.split(secret, threshold=self.threshold, holders=range(len(self.sites)))
                     for secret in (self.seeds[client], self.masking[client].private_bytes_raw()))
      for holder, site in enumerate(self.sites):
        found[site][client] = seeds[holder], keys[holder]
    return found

  def rows_of(self, client: int) -> np.ndarray:
    """Returns the rows for `mask_expansion.add_masks` of an own client: its own mask, and one with each other client.

    Raises:
      ValueError: A public key is none.
    """
    pairs = [mask_protocol.pair_row(self.masking[client], self.keys[other], me=client, other=other,
                                    round_num=self.number) for other in self.clients if other != client]
    return np.stack([mask_protocol.self_row(self.seeds[client]), *pairs])

  def forget(self) -> None:
    """Drops all secrets; what was done is still known."""
    self.masking, self.seeds, self.rows, self.kept, self.held = {}, {}, {}, {}, {}


def packed(shares: Mapping[int, tuple[bytes, bytes]]) -> bytes:
  """Returns shares as bytes, by ascending clients."""
  return b''.join(part for client in sorted(shares) for part in shares[client])


def unpacked(content: bytes, clients: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
  """Returns the shares that `packed` wrote for these clients, ascending.

  Raises:
    ValueError: They are for another number of clients.
  """
  size = shamir.SHARE_BYTES
  if len(content) != 2 * size * len(clients):
    raise ValueError('a site sent shares for another number of clients than it has.')
  parts = [content[start:start + size] for start in range(0, len(content), size)]
  return {client: (parts[2 * place], parts[2 * place + 1]) for place, client in enumerate(clients)}


def _public(key):
  return key.public_key().public_bytes_raw()

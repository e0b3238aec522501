"""The parties of the secure aggregation protocol: what a client keeps, what the server sees.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017, figure 4,
without signatures (an honest but curious server), over the graph of Bell et al., CCS 2020. A client's upload is
masked with its own mask and one mask per neighbour; neighbours' masks cancel. For each client the survivors
reveal shares of either its own mask's seed (it uploaded) or its key (it dropped out), never of both.
"""

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tff_vision.secure.masking import mask_expansion, shamir

_NONCE = bytes(12)  # Each key encrypts one message.


class PublicKeys(NamedTuple):
  """A client's two X25519 public keys of a round, 32 bytes each: for masks, and for sealing shares."""
  masking: bytes
  sealing: bytes


class MaskClient:
  """One client in one round; every secret of the protocol lives here."""

  def __init__(self, index: int, *, round_num: int, threshold: int, fewest: int = 2):
    """Args: `fewest`: it helps to open no sum over fewer clients; `threshold`: shares that open one secret."""
    self.index = index
    self._round_num = round_num
    self._threshold = threshold
    self._fewest = fewest
    self._masking = X25519PrivateKey.generate()
    self._sealing = X25519PrivateKey.generate()
    self._self_seed = os.urandom(shamir.SECRET_BYTES)
    self._neighbour_keys: Mapping[int, PublicKeys] = {}
    self._shares_held: dict[int, tuple[bytes, bytes]] = {}
    self._revealed = False

  def advertise(self) -> PublicKeys:
    """Phase 1: returns the keys that the server passes on."""
    return PublicKeys(*(k.public_key().public_bytes_raw() for k in (self._masking, self._sealing)))

  def share(self, neighbour_keys: Mapping[int, PublicKeys]) -> dict[int, bytes]:
    """Phase 2: returns, for each neighbour, shares of both secrets that only that neighbour can read.

    Raises:
      ValueError: Too few neighbours are left to recover anything.
    """
    holders = [self.index, *neighbour_keys]
    if len(holders) < self._threshold:
      raise ValueError(f'client {self.index} has {len(neighbour_keys)} neighbours left, too few to share with.')
    self._neighbour_keys = dict(neighbour_keys)
    seeds = shamir.split(self._self_seed, threshold=self._threshold, holders=holders)
    keys = shamir.split(self._masking.private_bytes_raw(), threshold=self._threshold, holders=holders)
    self._shares_held[self.index] = seeds[self.index], keys[self.index]
    return {j: ChaCha20Poly1305(self._sealing_key(j, sender=self.index)).encrypt(
        _NONCE, seeds[j] + keys[j], self._context(self.index, j)) for j in neighbour_keys}

  def receive(self, sealed: Mapping[int, bytes]) -> None:
    """Keeps the shares of the neighbours that are still there; masks are agreed with exactly these.

    Raises:
      cryptography.exceptions.InvalidTag: A share was changed on its way.
    """
    for owner, box in sealed.items():
      opened = ChaCha20Poly1305(self._sealing_key(owner, sender=owner)).decrypt(
          _NONCE, box, self._context(owner, self.index))
      self._shares_held[owner] = opened[:shamir.SHARE_BYTES], opened[shamir.SHARE_BYTES:]

  def mask_rows(self) -> np.ndarray:
    """Phase 3: returns the rows for `mask_expansion.add_masks`, [1 + neighbours, ROW_WORDS] uint32."""
    rows = [self_row(self._self_seed)]
    rows += [pair_row(self._masking, self._neighbour_keys[j].masking, me=self.index, other=j,
                      round_num=self._round_num) for j in sorted(self._shares_held) if j != self.index]
    return np.stack(rows)

  def reveal(self, *, uploaded: Collection[int], dropped: Collection[int]) -> dict[int, bytes]:
    """Phase 4: returns this client's share for each client it holds one of: own-mask seed, or masking key.

    Args:
      uploaded: Clients whose upload is in the sum.
      dropped: Clients that shared but did not upload.

    Raises:
      ValueError: The request would unmask a client: both secrets of one, a second request, or too few uploads.
    """
    if set(uploaded) & set(dropped) or self._revealed:
      raise ValueError(f'client {self.index} refuses: it reveals one of a client\'s two secrets, once.')
    if len(set(uploaded)) < self._fewest:
      raise ValueError(f'client {self.index} refuses: too few clients have uploaded, {len(set(uploaded))} of at least '
                       f'{self._fewest}.')
    if len(set(uploaded) & set(self._shares_held)) < self._threshold:
      raise ValueError(f'client {self.index} refuses: too few of its neighbours have uploaded.')
    self._revealed = True
    return {owner: seed_share if owner in set(uploaded) else key_share
            for owner, (seed_share, key_share) in self._shares_held.items() if owner in {*uploaded, *dropped}}

  def _sealing_key(self, other, *, sender):
    return _derive(self._sealing, self._neighbour_keys[other].sealing,
                   f'seal {self._round_num} from {sender}')

  def _context(self, owner, holder):
    return f'round {self._round_num} share of {owner} for {holder}'.encode()


def self_row(seed: bytes) -> np.ndarray:
  """Returns the row of a client's own mask, which is added."""
  return np.append(np.frombuffer(seed, '<u4'), 0).astype(np.uint32)


def pair_row(private_key: X25519PrivateKey, public_key: bytes, *, me: int, other: int, round_num: int) -> np.ndarray:
  """Returns the row of the mask of two neighbours, with the sign of client `me`: the smaller index adds."""
  seed = _derive(private_key, public_key, f'mask {round_num} {min(me, other)} {max(me, other)}')
  return np.append(np.frombuffer(seed, '<u4'), int(me > other)).astype(np.uint32)


def private_key(secret: bytes) -> X25519PrivateKey:
  """Returns the masking key that shares gave back."""
  return X25519PrivateKey.from_private_bytes(secret)


def _derive(own_key, public_key, purpose):
  shared = own_key.exchange(X25519PublicKey.from_public_bytes(public_key))
  return HKDF(hashes.SHA256(), mask_expansion.SEED_WORDS * 4, None, f'tff_vision {purpose}'.encode()).derive(shared)

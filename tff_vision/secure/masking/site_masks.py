"""What sites and coordinator have in common in masked sums whose sites play their half themselves.

The site's half is `federation.mask_site`, which says how the protocol goes; the coordinator's is `site_round`.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PROTOCOL = 'masks'
_NONCE = bytes(12)  # Each key seals one box.


def threshold(sites: int) -> int:
  """Returns how many of `sites` sites must agree on what is in a sum, and give shares, to open it.

  Bonawitz et al., 2017, section 6.2: more than two thirds, so that with up to a third of the sites on the coordinator's
  side there are never two lists that enough sites signed, of which one names a client lost and one does not.
  """
  return 2 * sites // 3 + 1


class Box:
  """Seals what one site has for another in one attempt."""

  def __init__(self, own: X25519PrivateKey, other: bytes, context: bytes):
    """Args: `own`: either site's key of the attempt; `other`: the other's public one; `context`: who to whom, and when.

    Raises:
      ValueError: `other` is no key.
    """
    shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    self._cipher = ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, None, b'tff_vision box ' + context).derive(shared))
    self._context = context

  def seal(self, content: bytes) -> bytes:
    return self._cipher.encrypt(_NONCE, content, self._context)

  def open(self, box: bytes) -> bytes:
    """Raises: cryptography.exceptions.InvalidTag: It was sealed by another key, for another context, or changed."""
    return self._cipher.decrypt(_NONCE, box, self._context)

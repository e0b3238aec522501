"""The parameters of additive BFV, chosen and checked when a process is built.

One ciphertext coefficient carries several fixed-point values of a model update side by side. What fits is a
matter of arithmetic: room for the integer sum of all clients, room for the encryption noise of all clients,
and, where clients decrypt jointly, room for the smudging noise that hides their key shares.

Security: ring dimension 4096, ternary secrets and log2(q) <= 109 give 128 bits against classical attacks
(Albrecht et al., Homomorphic Encryption Security Standard, 2018, table 1).
"""

import dataclasses
import math

DEGREE = 4096
MAX_MODULUS_BITS = 109  # Of every modulus under which a key is published, for DEGREE and ternary secrets.
PRIME_BITS = 27  # Four of them stay below the limit, and a residue fits into an int32.
MAX_PLAIN_BITS = 59  # SEAL, the second implementation, takes plain moduli of at most 60 bits.
SMUDGING_MARGIN_BITS = 30  # A key share is hidden by noise at least this much larger than what it hides.
CBD_TOSSES = 21  # Errors are centred binomial with variance 21 / 2, as in SEAL.
MAX_VALUE_BITS = 22  # Scaled messages stay exact in float64.
MAX_SMUDGING_BITS = 50  # Key shares too, and they are reduced exactly (see `ring.reduce_words`).
ROUNDING_MARGIN = 2**-20  # Decryption rounds rightly up to this close to one half (see `ring.scaled_rounded`).
NOISE_SIGMAS = 8  # Chance of one wrong coefficient in 10^9: about 10^-6.


def _ntt_primes(count: int) -> tuple[int, ...]:
  """Returns the `count` largest primes below 2**PRIME_BITS that are 1 modulo 2 * DEGREE, largest last.

  The arithmetic here needs no number-theoretic transform; SEAL's does.
  """
  found = []
  candidate = 2**PRIME_BITS - 2 * DEGREE + 1
  while len(found) < count:
    if all(candidate % d for d in range(3, math.isqrt(candidate) + 1, 2)):
      found.append(candidate)
    candidate -= 2 * DEGREE
  return tuple(reversed(found))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BfvParameters:
  """What client and decryptor must agree on. Built by `threshold_parameters` or `key_holder_parameters`.

  Attributes:
    primes: The ciphertext modulus q is their product.
    special_primes: Further primes in the published key's modulus (SEAL keeps one for key switching).
    value_bits: Bits of one client's fixed-point value.
    field_bits: Bits that the sum of `clients_max` such values needs.
    values_per_coefficient: How many fields share one coefficient.
    clients_max: The largest number of clients in one sum.
    smudging_bits: Key shares carry uniform noise in [-2**smudging_bits, 2**smudging_bits); 0 means that
      nobody but the holder of the whole key ever decrypts.
  """
  primes: tuple[int, ...]
  special_primes: tuple[int, ...]
  value_bits: int
  field_bits: int
  values_per_coefficient: int
  clients_max: int
  smudging_bits: int

  def __post_init__(self):
    assert self.key_modulus_bits <= MAX_MODULUS_BITS, self
    assert self.value_bits + _headroom_bits(self.clients_max) <= self.field_bits, self
    assert self.plain_bits <= MAX_PLAIN_BITS, self
    noise = noise_bound(clients=self.clients_max, key_shares=self.clients_max if self.smudging_bits else 1)
    smudging = self.clients_max * 2**self.smudging_bits if self.smudging_bits else 0
    assert 2 * (noise + smudging) * 2**self.plain_bits < self.modulus * (1 - ROUNDING_MARGIN), self
    # A worker multiplies with the sum of its clients' secrets, and adds their noise (see `ring.reduce_words`).
    assert not self.smudging_bits or self.clients_max * (DEGREE * 2**PRIME_BITS + 2**32) < 2**50, self

  @property
  def modulus(self) -> int:
    return math.prod(self.primes)

  @property
  def key_modulus_bits(self) -> int:
    return math.prod(self.primes + self.special_primes).bit_length()

  @property
  def plain_bits(self) -> int:
    """The plain modulus is 2**plain_bits."""
    return self.field_bits * self.values_per_coefficient

  @property
  def offset(self) -> int:
    """Added to a client's value to make it non-negative; also the largest magnitude of a value."""
    return 2**(self.value_bits - 1) - 1

  @property
  def bytes_per_value(self) -> float:
    """Bytes of ciphertext (two polynomials of int32 residues) for one value."""
    return 2 * len(self.primes) * 4 / self.values_per_coefficient


def noise_bound(*, clients: int, key_shares: int) -> float:
  """Returns a bound on the noise in one coefficient of the sum of `clients` fresh ciphertexts.

  Fresh noise is e1 + e2 * s - e * u with s and e sums of `key_shares` terms: products of an error polynomial
  with a ternary one of variance 2 / 3, plus 1 for the rounded message (Fan and Vercauteren, 2012, lemma 1,
  in its average-case form).
  """
  variance = CBD_TOSSES / 2 * (1 + DEGREE * 4 / 3 * key_shares)
  return NOISE_SIGMAS * math.sqrt(clients * variance) + clients


def threshold_parameters(*, clients_max: int, value_bits: int) -> BfvParameters:
  """Returns parameters for keys that all clients of a round hold together.

  Raises:
    ValueError: No choice leaves room for the sum, the noise and the smudging noise.
  """
  _check_request(clients_max, value_bits)
  primes = _ntt_primes(4)
  noise = noise_bound(clients=clients_max, key_shares=clients_max)
  field_bits = value_bits + _headroom_bits(clients_max)
  for values in range(MAX_PLAIN_BITS // field_bits, 0, -1):
    room = math.prod(primes) * (1 - ROUNDING_MARGIN) / 2**(values * field_bits + 1) - noise
    smudging_bits = min(math.floor(math.log2(room / clients_max)) if room > 0 else 0, MAX_SMUDGING_BITS)
    if smudging_bits >= math.log2(noise) + SMUDGING_MARGIN_BITS:
      return BfvParameters(primes=primes, special_primes=(), value_bits=value_bits, field_bits=field_bits,
                           values_per_coefficient=values, clients_max=clients_max,
                           smudging_bits=smudging_bits)
  raise ValueError(_no_room(clients_max, value_bits))


def key_holder_parameters(*, clients_max: int, value_bits: int) -> BfvParameters:
  """Returns parameters for a key pair that one key holder, who is not the server, made with SEAL.

  Raises:
    ValueError: No choice leaves room for the sum and the noise.
  """
  _check_request(clients_max, value_bits)
  *primes, special = _ntt_primes(4)
  noise = noise_bound(clients=clients_max, key_shares=1)
  field_bits = value_bits + _headroom_bits(clients_max)
  for values in range(MAX_PLAIN_BITS // field_bits, 0, -1):
    if 2 * noise * 2**(values * field_bits) < math.prod(primes) * (1 - ROUNDING_MARGIN):
      return BfvParameters(primes=tuple(primes), special_primes=(special,), value_bits=value_bits,
                           field_bits=field_bits, values_per_coefficient=values, clients_max=clients_max,
                           smudging_bits=0)
  raise ValueError(_no_room(clients_max, value_bits))


def _headroom_bits(clients_max):
  return math.ceil(math.log2(clients_max))


def _check_request(clients_max, value_bits):
  if clients_max < 2:
    raise ValueError(f'secure_clients_max must be at least 2, found {clients_max}: the sum of one client is '
                     'that client.')
  if not 2 <= value_bits <= MAX_VALUE_BITS:
    raise ValueError(f'secure_bits must lie in 2..{MAX_VALUE_BITS}, found {value_bits}.')


def _no_room(clients_max, value_bits):
  return (f'secure_bits={value_bits} with secure_clients_max={clients_max} leaves no room in the ciphertext for '
          'the sum and its noise: lower secure_bits or secure_clients_max, or choose secure_sum=masks, which adds no '
          'noise.')

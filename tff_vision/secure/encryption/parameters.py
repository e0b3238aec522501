"""The parameters of additive BFV, chosen and checked when a process is built.

One ciphertext coefficient carries several fixed-point values of a model update side by side. What fits is a
matter of arithmetic: room for the integer sum of all clients, room for the encryption noise of all clients,
and, where clients decrypt jointly, room for the smudging noise that hides what their key shares would tell.

Two securities, both stated in a run's report:

* Of encryption: ternary secrets and log2(q) <= 109 for ring dimension 4096, <= 218 for 8192, give 128 bits against
  classical attacks (Albrecht et al., Homomorphic Encryption Security Standard, 2018, table 1).
* Of joint decryption, which is statistical: see `decryption_bits`.
"""

import dataclasses
import functools
import math

DEGREE = 4096  # Of a key holder's keys.
MAX_MODULUS_BITS = {4096: 109, 8192: 218}  # Of every modulus under which a key is published, by ring dimension.
PRIME_BITS = 27  # A residue fits into an int32, and its products into a float64.
MAX_PLAIN_BITS = 59  # Of a key holder: SEAL takes plain moduli of at most 60 bits.
MAX_FIELD_BITS = 32  # Decryption adds up residue times field exactly (see `ring.scaled_fields`).
STATISTICAL_BITS = 40  # What joint decryption tells is at most 2**-40 from nothing, over a whole run.
CBD_TOSSES = 21  # Errors are centred binomial with variance 21 / 2, as in SEAL.
MAX_VALUE_BITS = 22  # Scaled messages stay exact in float64.
EXACT_BITS = 51  # Whole numbers below 2**51 are reduced exactly (see `ring.reduce`).
ROUNDING_MARGIN = 2**-18  # Decryption rounds rightly up to this close to one half (see `ring.scaled_fields`).
NOISE_SIGMAS = 8  # Chance of one wrong coefficient in 10^9: about 10^-6.
_CHUNK_RESIDUES = 2**18  # Of the polynomials worked on at a time: temporaries stay in the cache, and small.


@functools.cache
def _ntt_primes(count: int, degree: int = DEGREE) -> tuple[int, ...]:
  """Returns the `count` largest primes below 2**PRIME_BITS that are 1 modulo 2 * degree, largest last.

  The arithmetic here needs no number-theoretic transform; SEAL's does.
  """
  found = []
  candidate = 2**PRIME_BITS - 2 * degree + 1
  while len(found) < count:
    if all(candidate % d for d in range(3, math.isqrt(candidate) + 1, 2)):
      found.append(candidate)
    candidate -= 2 * degree
  return tuple(reversed(found))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BfvParameters:
  """What client and decryptor must agree on. Built by `threshold_parameters` or `key_holder_parameters`.

  Attributes:
    degree: The ring dimension: coefficients of a polynomial.
    primes: The ciphertext modulus q is their product.
    special_primes: Further primes in the published key's modulus (SEAL keeps one for key switching).
    value_bits: Bits of one client's fixed-point value.
    field_bits: Bits that the sum of `clients_max` such values needs.
    values_per_coefficient: How many fields share one coefficient.
    clients_max: The largest number of clients in one sum.
    smudging_bits: Key shares carry uniform noise in [-2**smudging_bits, 2**smudging_bits); 0 means that
      nobody but the holder of the whole key ever decrypts.
  """
  degree: int = DEGREE
  primes: tuple[int, ...]
  special_primes: tuple[int, ...]
  value_bits: int
  field_bits: int
  values_per_coefficient: int
  clients_max: int
  smudging_bits: int

  def __post_init__(self):
    if not self._fits():
      raise ValueError(f'{self} leave no room.')

  def _fits(self):
    """Returns whether keys are secure, sums and noise have room, and all arithmetic is exact."""
    shares = self.clients_max if self.smudging_bits else 1
    noise = noise_bound(clients=self.clients_max, key_shares=shares, degree=self.degree)
    smudging = self.clients_max * 2**self.smudging_bits if self.smudging_bits else 0
    product = self.degree * 2**PRIME_BITS
    # A client adds its message, scaled by factors below half a prime, to its product.
    message = self.values_per_coefficient * 2**(self.value_bits + PRIME_BITS - 1)
    return (self.key_modulus_bits <= MAX_MODULUS_BITS[self.degree]
            and self.value_bits + _headroom_bits(self.clients_max) <= self.field_bits
            and (self.field_bits <= MAX_FIELD_BITS if self.smudging_bits else self.plain_bits <= MAX_PLAIN_BITS)
            and 2 * (noise + smudging) * 2**self.plain_bits < self.modulus * (1 - ROUNDING_MARGIN)
            and product + message < 2**EXACT_BITS
            # A worker multiplies with the sum of its clients' secrets, and adds their noise, word by word.
            and shares * (product + 2**32) < 2**(EXACT_BITS - 1))

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
  def smudging_words(self) -> int:
    """Random words of 32 bits for the noise of one coefficient."""
    return -(-(self.smudging_bits + 1) // 32)

  @property
  def offset(self) -> int:
    """Added to a client's value to make it non-negative; also the largest magnitude of a value."""
    return 2**(self.value_bits - 1) - 1

  @property
  def bytes_per_value(self) -> float:
    """Bytes of ciphertext (two polynomials of int32 residues) for one value."""
    return 2 * len(self.primes) * 4 / self.values_per_coefficient

  def chunks(self, length: int) -> tuple[int, int]:
    """Returns in how many chunks of how many polynomials a vector of `length` values is worked on.

    A chunk is as large as the cache allows, or more than half of it, so that there is the least padding.
    """
    largest = max(1, _CHUNK_RESIDUES // (self.degree * len(self.primes)))
    polynomials = -(-length // (self.values_per_coefficient * self.degree))
    sizes = range(min(polynomials, largest), min(polynomials, largest // 2), -1) or [polynomials]
    size = min(sizes, key=lambda size: -(-polynomials // size) * size)
    return -(-polynomials // size), size

  def ciphertext_bytes(self, length: int) -> int:
    """Returns the size of the ciphertext of a vector of `length` values."""
    return math.prod(self.chunks(length)) * 2 * len(self.primes) * self.degree * 4


def noise_bound(*, clients: int, key_shares: int, degree: int = DEGREE) -> float:
  """Returns a bound on the noise in one coefficient of the sum of `clients` fresh ciphertexts.

  NOISE_SIGMAS standard deviations (see `_noise_deviation`), plus 1 for each rounded message.
  """
  return NOISE_SIGMAS * _noise_deviation(clients, key_shares, degree) + clients


def decryption_bits(params: BfvParameters, *, length: int, openings: int) -> float:
  """Returns b: what joint decryption tells, beyond the sums themselves, is within 2**-b of nothing.

  Clients may all collude but one. Its decryption share is c1 * s_i plus noise U, uniform on 2**(smudging_bits + 1)
  integers and independent of everything else. Whoever knows the sum, all ciphertexts and the others' secrets can
  compute the same share without s_i, but for the noise E that encryption left in the sum: c1 * s_i is q / t * m - c0
  - c1 * (others' secrets) + E. So the shares can be simulated, at the statistical distance between U + E and U. For
  one coefficient and a known E = x that is |x| / 2**(smudging_bits + 1) (Asharov et al., EUROCRYPT 2012, Lemma 1, the
  smudging lemma); averaged over E it is at most E|x|, however the coefficients depend on each other, and distances add
  up (union bound) over all coefficients of a vector and all `openings`, each under keys of its own:

    2**-b <= openings * coefficients * (deviation of E + clients_max) / 2**(smudging_bits + 1)

  No tail is cut off: E|x| <= sqrt(E x^2). Noise that honest clients add beside U only lowers the distance, and is not
  counted. The distance adds to delta where an epsilon counts on the sum alone being seen.
  """
  coefficients = math.prod(params.chunks(length)) * params.degree
  error = _noise_deviation(params.clients_max, params.clients_max, params.degree) + params.clients_max
  return params.smudging_bits + 1 - math.log2(openings) - math.log2(coefficients) - math.log2(error)


def openings_of(rounds: int) -> int:
  """Returns how many openings a run of `rounds` rounds is counted for.

  A round that loses a client begins again with a new key, up to three times in all unless `attempts` says otherwise,
  and once more after the run was resumed; shares may have been sent each time.
  """
  return 4 * rounds


def threshold_parameters(*, clients_max: int, value_bits: int, length: int, rounds: int,
                         statistical_bits: int = STATISTICAL_BITS) -> BfvParameters:
  """Returns parameters for keys that all clients of a round hold together: those of the smallest ciphertext.

  Args:
    length: Values of one vector.
    rounds: Of the run; see `openings_of`.
    statistical_bits: The least `decryption_bits`.

  Raises:
    ValueError: No choice leaves room for the sum, the noise and the smudging noise.
  """
  _check_request(clients_max, value_bits)
  found = []
  for degree, limit in MAX_MODULUS_BITS.items():
    for primes in (_ntt_primes(count, degree) for count in range(1, limit // PRIME_BITS + 1)):
      found += _widest(degree, primes, clients_max, value_bits, length, openings_of(rounds), statistical_bits)
  if not found:
    raise ValueError(_no_room(clients_max, value_bits) + f' secure_statistical_bits={statistical_bits} over {rounds} '
                     f'rounds of {length} values asks for the smudging noise; fewer of them need less room.')
  # Of equally small ones that with fewer residues to compute.
  return min(found, key=lambda params: (params.ciphertext_bytes(length), len(params.primes) * params.degree))


def _widest(degree, primes, clients_max, value_bits, length, openings, statistical_bits):
  """Returns, of parameters with this modulus, those with the most values in a coefficient, or none."""
  field_bits = value_bits + _headroom_bits(clients_max)
  noise = noise_bound(clients=clients_max, key_shares=clients_max, degree=degree)
  for values in range(PRIME_BITS * len(primes) // field_bits, 0, -1):
    room = math.prod(primes) * (1 - 2 * ROUNDING_MARGIN) / 2**(values * field_bits + 1) - noise
    if room < 2 * clients_max:
      continue
    widest = math.floor(math.log2(room / clients_max))
    try:
      params = BfvParameters(degree=degree, primes=primes, special_primes=(), value_bits=value_bits,
                             field_bits=field_bits, values_per_coefficient=values, clients_max=clients_max,
                             smudging_bits=widest)
    except ValueError:
      continue
    spare = math.floor(decryption_bits(params, length=length, openings=openings) - statistical_bits)
    if spare >= 0:
      # Noise that fills its words is wider for nothing; one word less saves its draws.
      needed = params.smudging_bits - spare
      return [dataclasses.replace(params, smudging_bits=min(params.smudging_bits, -(-(needed + 1) // 32) * 32 - 1))]
  return []


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


def rings(secure_sum: str) -> dict[tuple[int, int], tuple[int, ...]]:
  """Returns, for each (number of primes, degree) that the parameters of a secure sum may have, the primes."""
  if secure_sum == 'he_keyholder':
    *primes, _ = _ntt_primes(4)
    return {(len(primes), DEGREE): tuple(primes)}
  return {(count, degree): _ntt_primes(count, degree) for degree, limit in MAX_MODULUS_BITS.items()
          for count in range(1, limit // PRIME_BITS + 1)}


def _noise_deviation(clients, key_shares, degree):
  """Returns the standard deviation of the noise in one coefficient of a sum of `clients` fresh ciphertexts.

  Fresh noise is e1 + e2 * s - e * u with s and e sums of `key_shares` terms: products of an error polynomial with a
  ternary one of variance 2 / 3 (Fan and Vercauteren, 2012, lemma 1). All factors are independent and centred, so
  variances add up exactly.
  """
  return math.sqrt(clients * CBD_TOSSES / 2 * (1 + degree * 4 / 3 * key_shares))


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

"""How updates are hidden, as data: the secure section of an experiment."""

import dataclasses

from tff_vision.configs import validate

SECURE_SUMS = ('none', 'he', 'he_keyholder', 'masks')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecureConfig:
  """How updates are hidden from whoever adds them up; see docs/explanation/secure_sums.md.

  `secure_sum=none` accepts the numbers below without reading them, so that one set of flags compares every kind of sum.

  Attributes:
    secure_sum: `he`: encrypted under a key that all clients of a round hold together; `he_keyholder`:
      encrypted under the key pair of a key holder, who runs in the coordinator's process; `masks`: masked pairwise,
      with recovery from dropouts, by a key agreement of which the coordinator plays the clients' half.
    secure_bits: Bits of one element of a client's update, in fixed point.
    secure_clients_max: The largest cohort; integers and noise get room for that many.
    secure_range: The largest magnitude of one element of an update. With differential privacy clip_norm takes
      its place. An update beyond it fails the round.
    secure_statistical_bits: `he`: over the whole run, what the clients' joint decryption tells beside the sums is
      within 2**-secure_statistical_bits of nothing; fewer bits leave more room in a ciphertext.
    key_holder_dir: The key holder's folder, outside of run_dir. Read by `he_keyholder` only; keys are made there
      at the first run.
  """
  secure_sum: str = 'none'
  secure_bits: int = 16
  secure_clients_max: int = 16
  secure_range: float = 2.0
  secure_statistical_bits: int = 40
  key_holder_dir: str | None = None

  def __post_init__(self):
    validate.one_of(SECURE_SUMS, secure_sum=self.secure_sum)
    if not 2 <= self.secure_bits <= 22:
      raise ValueError(f'secure_bits must lie in 2..22, found {self.secure_bits}.')
    if self.secure_clients_max < 2:
      raise ValueError(f'secure_clients_max must be at least 2, found {self.secure_clients_max}: the sum of one '
                       'client is that client.')
    validate.positive(secure_range=self.secure_range, secure_statistical_bits=self.secure_statistical_bits)
    if (self.secure_sum == 'he_keyholder') != (self.key_holder_dir is not None):
      raise ValueError(f'key_holder_dir={self.key_holder_dir!r} with secure_sum={self.secure_sum}: '
                       'he_keyholder needs the folder of the key holder, nothing else reads it.')

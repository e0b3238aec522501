"""The configuration of secure sums."""

import dataclasses

from tff_vision.configs import compatibility, option, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecureConfig:
  """How updates are hidden from whoever adds them up; see docs/explanation/secure_sums.md.

  `secure_sum=none` accepts the numbers below but does not read them, so that the same set of flags can be used to
  compare all kinds of sums.
  """
  secure_sum: str = option.option(
      'none', 'How client updates, weights and training metrics are hidden while they are added up. Only he on workers '
      'and what sites with an approval hide are hidden from the coordinator too: docs/explanation/secure_sums.md.')
  secure_bits: int = option.option(16, 'Bits of one element of an update in a secure sum, in fixed point.')
  secure_clients_max: int = option.option(
      16, 'Largest cohort of a secure sum; integers and noise get room for that many.')
  secure_range: float = option.option(
      2.0, 'Largest magnitude of one element of an update in a secure sum, beyond which the round fails; clip_norm '
      'replaces it.')
  secure_statistical_bits: int = option.option(
      40, 'secure_sum=he: what joint decryption tells over the whole run is within 2^-bits of nothing; fewer bits '
      'leave more room in a ciphertext.')
  key_holder_dir: str | None = option.option(
      None, 'Folder of the key holder for secure_sum=he_keyholder, outside of run_dir; keys are made there at the '
      'first run. The coordinator\'s process reads the secret key there.')
  key_holder: str | None = option.option(
      None, 'host:port of a key holder for secure_sum=he_keyholder that is a service of its own (python -m '
      'pipelines.key_holder), instead of key_holder_dir; the sites must have approved the plan.')

  def __post_init__(self):
    option.check_choices(self)
    if not 2 <= self.secure_bits <= 22:
      raise ValueError(f'secure_bits must lie in 2..22, found {self.secure_bits}.')
    check_clients_max(self.secure_clients_max)
    validate.positive(secure_range=self.secure_range, secure_statistical_bits=self.secure_statistical_bits)
    validate.address(key_holder=self.key_holder)
    if self.key_holder is not None and self.key_holder_dir is not None:
      raise ValueError('key_holder and key_holder_dir exclude each other: there is one key.')
    compatibility.check(self)


def check_clients_max(clients: int) -> None:
  """Refuses room for fewer clients than a sum hides.

  Raises:
    ValueError: There are fewer than two.
  """
  if clients < 2:
    raise ValueError(f'secure_clients_max must be at least 2, found {clients}: the sum of one client is that client.')

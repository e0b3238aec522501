"""Privacy mechanisms and secure sums as values: sections of an experiment's config."""

from tff_vision import configs


def ClientGaussian(*, clip_norm: float, noise_multiplier: float | None = None, target_epsilon: float | None = None,
                   delta: float | None = None, metrics_noise_multiplier: float | None = None) -> configs.PrivacyConfig:
  """Returns client-level privacy with Gaussian noise that the server adds; it needs `Poisson` or `Allocation`.

  Args:
    clip_norm: L2 bound on one client's update.
    noise_multiplier: Standard deviation of the noise, divided by clip_norm; give either this or target_epsilon.
    target_epsilon: The noise is calibrated to this epsilon for the run's rounds.
    delta: The delta of the promise; None: population ** -1.1.
    metrics_noise_multiplier: Noise with which counts and accuracy are released; None: they are not released.
  """
  return configs.PrivacyConfig(privacy='client_gaussian', clip_norm=clip_norm, noise_multiplier=noise_multiplier,
                               target_epsilon=target_epsilon, delta=delta,
                               metrics_noise_multiplier=metrics_noise_multiplier)


def MatrixFactorization(*, clip_norm: float, strategy: str = 'blt', noise_multiplier: float | None = None,
                        target_epsilon: float | None = None, delta: float | None = None) -> configs.PrivacyConfig:
  """Returns client-level privacy with correlated noise that the server adds.

  It needs `RoundRobin`, or `Poisson` for strategy='amplified'.

  Args:
    clip_norm: L2 bound on one client's update.
    strategy: `blt`, `banded` or `amplified`.
    noise_multiplier: As in `ClientGaussian`; so are the other arguments.
  """
  return configs.PrivacyConfig(privacy='dp_mf', mf_strategy=strategy, clip_norm=clip_norm, delta=delta,
                               noise_multiplier=noise_multiplier, target_epsilon=target_epsilon)


def DistributedGaussian(*, clip_norm: float, noise_multiplier: float | None = None,
                        target_epsilon: float | None = None, delta: float | None = None) -> configs.PrivacyConfig:
  """Returns client-level privacy by noise shares of the clients; needs a secure sum. Arguments: `ClientGaussian`."""
  return configs.PrivacyConfig(privacy='distributed_gaussian', clip_norm=clip_norm, delta=delta,
                               noise_multiplier=noise_multiplier, target_epsilon=target_epsilon)


def ExampleDpSgd(*, clip_norm: float, noise_multiplier: float | None = None, target_epsilon: float | None = None,
                 delta: float | None = None) -> configs.PrivacyConfig:
  """Returns example-level privacy: clients train with private SGD and add the noise themselves.

  Args:
    clip_norm: L2 bound on the gradient of one example.
    noise_multiplier: As in `ClientGaussian`; so are the other arguments.
  """
  return configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=clip_norm, delta=delta,
                               noise_multiplier=noise_multiplier, target_epsilon=target_epsilon)


def ExampleDistributed(*, clip_norm: float, noise_multiplier: float | None = None, target_epsilon: float | None = None,
                       delta: float | None = None, noise_survivors: int | None = None) -> configs.PrivacyConfig:
  """Returns example-level privacy by noise shares: each round is one step on the examples of all clients together.

  It needs a secure sum. The client's batch_size is the expected batch of an average client; the server takes the step.

  Args:
    clip_norm: L2 bound on the gradient of one example.
    noise_multiplier: Standard deviation of the noise in the sum over the largest change by one example.
    target_epsilon: As in `ClientGaussian`; so is delta, of which the population is the number of examples.
    noise_survivors: The number of clients whose shares together give this noise, and without which no sum is opened;
      None: the whole cohort.
  """
  return configs.PrivacyConfig(privacy='example_distributed', clip_norm=clip_norm, delta=delta,
                               noise_multiplier=noise_multiplier, target_epsilon=target_epsilon,
                               noise_survivors=noise_survivors)


def ThresholdEncryption() -> configs.SecureConfig:
  """Returns sums under BFV encryption that all clients of a round decrypt together."""
  return configs.SecureConfig(secure_sum='he')


def Masks() -> configs.SecureConfig:
  """Returns sums under pairwise masks; clients may drop out. Unless sites approve what runs, the coordinator
  knows the masks."""
  return configs.SecureConfig(secure_sum='masks')


def KeyHolderEncryption(key_holder_dir: str | None = None, *, key_holder: str | None = None) -> configs.SecureConfig:
  """Returns sums under BFV encryption to a key holder, in the coordinator's process or a service of its own.

  Args:
    key_holder_dir: Folder of the key pair, outside of the run's folder; the coordinator's process reads it.
    key_holder: host:port of a key holder that is a service of its own, instead; one of the two is given.
  """
  return configs.SecureConfig(secure_sum='he_keyholder', key_holder_dir=key_holder_dir, key_holder=key_holder)

"""Small runs with canaries, on data that no model can learn from."""

import numpy as np

from tff_vision import configs, experiment
from tff_vision.configs import runtime_config

DELTA = 1e-6


def npz(folder, *, clients=4, side=14):
  """Returns an .npz file of ten classes whose clients have five images each."""
  rng, each = np.random.default_rng(0), 5
  path = folder / f'noise{clients}x{side}.npz'
  number = clients * each
  np.savez(path, x=rng.integers(0, 256, (number, side, side, 1)).astype(np.uint8), y=np.arange(number) % 10,
           client=np.repeat(np.arange(clients), each), y_test=np.arange(20) % 10, client_test=np.arange(20) % clients,
           x_test=rng.integers(0, 256, (20, side, side, 1)).astype(np.uint8))
  return path


def config(path, privacy, *, sampling, cohort, rounds, canaries, noise, secure=None, batch=8, **more):
  return configs.ExperimentConfig(
      data=configs.DataConfig(dataset='npz', data_dir=str(path), partition='natural'),
      privacy=configs.PrivacyConfig(privacy=privacy, clip_norm=1.0, delta=DELTA, noise_multiplier=noise,
                                    audit_canaries=canaries, audit_confidence=0.9999, **more),
      model=configs.ModelConfig(model='linear'), client=configs.ClientConfig(batch_size=batch, client_epochs=1),
      cohort=configs.CohortConfig(sampling=sampling, cohort_size=cohort), secure=secure or configs.SecureConfig(),
      program=configs.ProgramConfig(rounds=rounds, rounds_per_evaluation=rounds))


def run(chosen, folder, *, runtime=None, resume=False, **options):
  """Returns the result of a run."""
  return experiment.run(chosen, configs.LaunchConfig(run_dir=str(folder), resume=resume),
                        runtime=runtime or runtime_config.RuntimeConfig(), **options)

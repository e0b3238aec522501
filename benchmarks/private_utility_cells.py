"""The cells of the table of `benchmarks.private_utility`."""

import dataclasses

from tff_vision import configs

_SCALE = 10  # Number of simulated clients per training client.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """One number of the table, for each seed.

  Attributes:
    row: The row of the table; it shows several epsilons side by side.
    epsilon: The budget; None adds no noise to the same clipped updates.
    model: `scattering`, `scatternet`, `public` or another of `private_utility_run.FIXED` (one linear layer on these
      features), or a key of MODELS.
    dataset: As in `configs.DataConfig`; `data_dir` too.
    images: Number of training images, drawn by the seed; None for all.
    num_clients: Number of clients; the images are divided evenly among them.
    scale: Number of clients that each client stands for.
    from_public: Whether the convolutions of `cnn_private` start from those trained on generated handwriting.
  """
  row: str
  epsilon: float | None
  model: str
  num_clients: int
  cohort: configs.CohortConfig
  client: configs.ClientConfig
  server: configs.ServerConfig
  rounds: int
  privacy: configs.PrivacyConfig
  images: int | None = None
  scale: int = 1
  from_public: bool = False
  dataset: str = 'fashion_mnist'
  data_dir: str | None = None

  @property
  def key(self) -> str:
    return f'{self.row}, epsilon {"inf" if self.epsilon is None else f"{self.epsilon:g}"}'


def cells() -> dict[str, list[Cell]]:
  """Returns the table's cells by part."""
  return {
      'central': [_example_cell('central', epsilon, 1) for epsilon in (1.0, 3.0, 8.0, None)],
      'scatternet': [_scatternet_cell('scatternet', epsilon, 1) for epsilon in (1.0, 3.0, 8.0, None)],
      'scatternet_shared': [_scatternet_cell('scatternet shared', epsilon, 3) for epsilon in (1.0, 3.0, 8.0)],
      'causes': [dataclasses.replace(_scatternet_cell(f'{model}, published setting', epsilon, 1), model=model)
                 for model in ('scattering', 'scatternet by order') for epsilon in (3.0, None)],
      'silos': [_example_cell('silos', epsilon, 3) for epsilon in (1.0, 3.0, 8.0, None)],
      'clients': [_client_cell('clients', epsilon, 'poisson', privacy='client_gaussian')
                  for epsilon in (1.0, 3.0, 8.0, None)],
      'noise': [_client_cell(f'noise {name}', epsilon, 'round_robin', **mechanism)
                for epsilon in (0.5, 1.0, 3.0) for name, mechanism in _CORRELATIONS.items()],
      'cnn': [_cnn_cell()],
      'cnn_private': [_private_cnn_cell('cnn_private', 1)],
      'cnn_private_silos': [_private_cnn_cell('cnn_private silos', 3)],
      'cnn_private_shared': [_shared_cell()],
      'cnn_from_public': [dataclasses.replace(_private_cnn_cell('cnn_private from public', 1), from_public=True)],
      'cnn_from_public_silos': [
          dataclasses.replace(_private_cnn_cell('cnn_private from public silos', 3), from_public=True)],
      'options': [_option_cell(name, epsilon, **options)
                  for epsilon in (1.0, 3.0, 8.0) for name, options in _OPTIONS.items()],
      'public': [_head_cell(model, epsilon) for epsilon in (1.0, 3.0, 8.0) for model in ('public', 'untrained')],
  }


_CORRELATIONS = {
    'independent': {'privacy': 'dp_mf', 'mf_strategy': 'banded', 'mf_bands': 1},
    'tree': {'privacy': 'dp_ftrl'},
    'blt': {'privacy': 'dp_mf', 'mf_strategy': 'blt'},
}


_OPTIONS = {
    'none': {},
    'average': {'example_average': 0.99},
    'views': {'example_copies': 2, 'example_shift': 1},
    'mirrored views': {'example_copies': 2, 'example_mirror': True},
    'adaptive clip': {'example_adaptive_clip': True},
    'blt': {'example_noise': 'blt', 'example_sampling': 'cyclic'},
    'amplified': {'example_noise': 'amplified'},
}


def _example_cell(row, epsilon, silos):
  batch, rate, rounds, epochs = (2048, 8.0, 1, 8) if silos == 1 else (1024, 16.0, 4, 2)
  return Cell(
      row=row, epsilon=epsilon, model='scattering', num_clients=silos, rounds=rounds,
      cohort=configs.CohortConfig(cohort_size=silos), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=rate, client_epochs=epochs,
                                  batch_size=batch),
      privacy=_privacy(epsilon, 1e-5, privacy='example_dp_sgd', clip_norm=0.1))


def _scatternet_cell(row, epsilon, silos):
  # The rate, the batch and the number of passes are those of the paper for Fashion-MNIST; 320 steps are 40 passes.
  average = {'example_average': 0.97} if silos == 1 else {}
  return Cell(
      row=row, epsilon=epsilon, model='scatternet', num_clients=silos, rounds=1 if silos == 1 else 320,
      cohort=configs.CohortConfig(cohort_size=silos),
      server=configs.ServerConfig() if silos == 1 else configs.ServerConfig(
          server_optimizer='sgdm', server_learning_rate=16.0),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=16.0, client_epochs=40, batch_size=8192)
      if silos == 1 else configs.ClientConfig(batch_size=2731),
      privacy=_privacy(epsilon, 1e-5, privacy='example_dp_sgd' if silos == 1 else 'example_distributed', clip_norm=0.1,
                       **average))


def _cnn_cell():
  return Cell(
      row='cnn', epsilon=2.7, model='cnn_tanh', num_clients=1, rounds=1,
      cohort=configs.CohortConfig(cohort_size=1), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=4.0, client_epochs=40,
                                  batch_size=2048),
      privacy=_privacy(2.7, 1e-5, privacy='example_dp_sgd', clip_norm=0.1))


def _private_cnn_cell(row, silos):
  batch, rate, clip, rounds, epochs, average = (
      (2048, 8.0, 0.1, 1, 40, 0.99) if silos == 1 else (1024, 10.0, 0.1, 15, 2, 0.8))
  return Cell(
      row=row, epsilon=2.7, model='cnn_private', num_clients=silos, rounds=rounds,
      cohort=configs.CohortConfig(cohort_size=silos), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=rate, client_epochs=epochs,
                                  batch_size=batch),
      privacy=_privacy(2.7, 1e-5, privacy='example_dp_sgd', clip_norm=clip, example_average=average))


def _shared_cell():
  # 683 is a third of the batches of one silo.
  return Cell(
      row='cnn_private shared', epsilon=2.7, model='cnn_private', num_clients=3, rounds=1172,
      cohort=configs.CohortConfig(cohort_size=3),
      server=configs.ServerConfig(server_optimizer='sgdm', server_learning_rate=8.0),
      client=configs.ClientConfig(batch_size=683),
      privacy=_privacy(2.7, 1e-5, privacy='example_distributed', clip_norm=0.1))


def _option_cell(name, epsilon, **options):
  return Cell(
      row=f'options {name}', epsilon=epsilon, model='cnn_private', images=10_000, num_clients=1, rounds=1,
      cohort=configs.CohortConfig(cohort_size=1), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=8.0, client_epochs=8, batch_size=512),
      privacy=_privacy(epsilon, 1e-5, privacy='example_dp_sgd', clip_norm=0.1, **options))


def _head_cell(model, epsilon):
  return dataclasses.replace(_example_cell(f'{model} features', epsilon, 1), model=model)


def _client_cell(row, epsilon, sampling, **mechanism):
  return Cell(
      row=row, epsilon=epsilon, model='scattering', num_clients=1000, rounds=40, scale=_SCALE,
      cohort=configs.CohortConfig(sampling=sampling, cohort_size=50),
      server=configs.ServerConfig(server_optimizer='sgdm', server_learning_rate=3.0),
      client=configs.ClientConfig(client_learning_rate=0.01, client_epochs=1, batch_size=20),
      privacy=_privacy(epsilon, 1e-6, clip_norm=0.1, **mechanism))


def _privacy(epsilon, delta, **mechanism):
  budget = {'noise_multiplier': 0.0} if epsilon is None else {'target_epsilon': epsilon}
  return configs.PrivacyConfig(delta=delta, **budget, **mechanism)

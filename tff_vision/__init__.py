"""Federated training of vision models with TensorFlow Federated.

`Experiment` holds everything: images, a model, an algorithm, privacy and a secure sum, each as a value. Names are
imported when they are first used, so that `import tff_vision` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = '0.2.0'

# Name -> the module that defines it.
_PUBLIC = {
    **dict.fromkeys(('Experiment', 'OwnWork', 'RunResult', 'Trainer'), 'tff_vision.experiment'),
    'Ledger': 'tff_vision.accounting.ledger',
    **dict.fromkeys(('Algorithm', 'Work'), 'tff_vision.learning.algorithm'),
    **dict.fromkeys((
        'Task', 'Client', 'Server', 'sgd', 'adam', 'adamw', 'yogi', 'adagrad', 'Fixed', 'Poisson', 'RoundRobin',
        'Allocation', 'BudgetFile', 'Natural', 'Iid', 'Dirichlet', 'Shards'), 'tff_vision.values'),
    **dict.fromkeys((
        'ClientGaussian', 'MatrixFactorization', 'DistributedGaussian', 'ExampleDpSgd', 'ExampleDistributed',
        'ThresholdEncryption', 'KeyHolderEncryption', 'Masks'), 'tff_vision.private_values'),
    **dict.fromkeys(('Classification', 'Detection', 'Embedding', 'Segmentation'), 'tff_vision.objective_values'),
    'RuntimeConfig': 'tff_vision.configs.runtime_config',
    'open_runtime': 'tff_vision.runtime.driver.runtimes',
    'Metric': 'tff_vision.objectives.metric',
    'show_progress': 'tff_vision.progress',
}
_MODULES = ('data', 'testing')
__all__ = ['__version__', *_MODULES, *_PUBLIC]

if TYPE_CHECKING:
  from tff_vision import data as data
  from tff_vision import testing as testing
  from tff_vision.accounting.ledger import Ledger as Ledger
  from tff_vision.configs.runtime_config import RuntimeConfig as RuntimeConfig
  from tff_vision.experiment import Experiment as Experiment
  from tff_vision.experiment import OwnWork as OwnWork
  from tff_vision.experiment import RunResult as RunResult
  from tff_vision.experiment import Trainer as Trainer
  from tff_vision.learning.algorithm import Algorithm as Algorithm
  from tff_vision.learning.algorithm import Work as Work
  from tff_vision.objectives.metric import Metric as Metric
  from tff_vision.private_values import *  # noqa: F403
  from tff_vision.progress import show_progress as show_progress
  from tff_vision.runtime.driver.runtimes import open_runtime as open_runtime
  from tff_vision.values import *  # noqa: F403


def __getattr__(name: str) -> Any:
  if name in _MODULES:
    return importlib.import_module(f'tff_vision.{name}')
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f'module tff_vision has no attribute {name!r}.')


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])

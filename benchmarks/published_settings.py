"""Published settings that `benchmarks.published` runs, what was published for them, and what is measured of a run."""

import dataclasses
import math
from collections.abc import Mapping

from tff_vision.accounting import ledger


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """One published number.

  Attributes:
    recipe: The name of the flagfile in pipelines/recipes.
    published: What was published, in words.
    source: Where.
    flags: Flags that follow the recipe.
    aim: The test accuracy of which the rounds until it is reached were published.
    fixed_features: Whether the model is one private layer on fixed features, which are computed once.
  """
  recipe: str
  published: str
  source: str
  flags: tuple[str, ...] = ()
  aim: float | None = None
  fixed_features: bool = False


_MCMAHAN = 'McMahan et al. 2017, arXiv:1602.05629, table 2'
_NIID = 'Flower, baselines/niid_bench, expected results: the best of 50 rounds'
_MOON = 'Flower, baselines/moon, expected results: one run'
_HANDCRAFTED = 'Tramer and Boneh 2021, arXiv:2011.11660, linear classifier on scattering features, delta 1e-5'
_TUTORIAL = 'TensorFlow Privacy, tutorials/README.md, MNIST, delta 1e-5'
_MEDMNIST = 'Yang et al. 2023, arXiv:2110.14795, ResNet-18 at 28x28 on all images'
_LEAF = 'about 0.84 to 0.85 with 3,400 writers: Reddi et al. 2021, arXiv:2003.00295, table 1'


def _niid(data, clients, algorithm, published):
  return Setting(recipe=f'{data}_{clients}_{algorithm}', published=published, source=_NIID)


def _private(recipe, published, flags=()):
  return Setting(recipe=recipe, published=published, source=_HANDCRAFTED, flags=flags, fixed_features=True)


SETTINGS: Mapping[str, Setting] = {
    'mnist_iid': Setting(recipe='mnist_iid', published='20 rounds to 99 %', source=_MCMAHAN, aim=0.99),
    'mnist_shards': Setting(recipe='mnist_shards', published='229 rounds to 99 %', source=_MCMAHAN, aim=0.99),
    'fashion_mnist_niid_dirichlet_fedavg': _niid('fashion_mnist_niid', 'dirichlet', 'fedavg', '0.8809 ± 0.0029'),
    'fashion_mnist_niid_dirichlet_scaffold': _niid('fashion_mnist_niid', 'dirichlet', 'scaffold', '0.8844 ± 0.0025'),
    'fashion_mnist_niid_two_fedavg': _niid('fashion_mnist_niid', 'two', 'fedavg', '0.7810 ± 0.0251'),
    'fashion_mnist_niid_two_scaffold': _niid('fashion_mnist_niid', 'two', 'scaffold', '0.3380 ± 0.4122'),
    'cifar10_iid_fedavg': _niid('cifar10', 'iid', 'fedavg', '0.7132 ± 0.0033'),
    'cifar10_iid_scaffold': _niid('cifar10', 'iid', 'scaffold', '0.7166 ± 0.0113'),
    'cifar10_dirichlet_fedavg': _niid('cifar10', 'dirichlet', 'fedavg', '0.6247 ± 0.0043'),
    'cifar10_dirichlet_scaffold': _niid('cifar10', 'dirichlet', 'scaffold', '0.6808 ± 0.0096'),
    'cifar10_moon': Setting(recipe='cifar10_moon', published='0.7071', source=_MOON),
    'cifar10_moon_fedprox': Setting(recipe='cifar10_moon_fedprox', published='0.6852', source=_MOON),
    'femnist_fedavg': Setting(recipe='femnist_fedavg', published=_LEAF, source='not comparable with fewer writers'),
    'femnist_fedadam': Setting(recipe='femnist_fedadam', published=_LEAF, source='not comparable with fewer writers'),
    'pneumonia_pooled': Setting(recipe='pneumonia_pooled', published='AUC 0.944, accuracy 0.854', source=_MEDMNIST),
    'pneumonia_hospitals': Setting(recipe='pneumonia_hospitals', published='AUC 0.944, accuracy 0.854',
                                   source=_MEDMNIST),
    'pneumonia_encrypted': Setting(recipe='pneumonia_hospitals', published='AUC 0.944, accuracy 0.854',
                                   source=_MEDMNIST, flags=('--secure_sum=he',)),
    'pneumonia_private': Setting(recipe='pneumonia_private', published='AUC 0.944, accuracy 0.854, not private',
                                 source=_MEDMNIST),
    'mnist_private_linear': _private('mnist_private_linear', '0.987'),
    'fashion_mnist_private_linear': _private('fashion_mnist_private_linear', '0.897'),
    'cifar10_private_linear': _private('cifar10_private_linear', '0.670'),
    'mnist_private_silos': _private('mnist_private_silos', '0.987, in one silo'),
    'cifar10_private_silos': _private('cifar10_private_silos', '0.670, in one silo'),
    'fashion_mnist_private_silos': _private('fashion_mnist_private_silos', '0.897, in one silo'),
    **{f'mnist_private_cnn_{epsilon}': Setting(
        recipe='mnist_private_cnn', published=f'{published} at epsilon {epsilon}', source=_TUTORIAL,
        flags=(f'--target_epsilon={epsilon}',))
       for epsilon, published in (('1.19', '0.950'), ('3.01', '0.966'), ('7.10', '0.970'))},
}


def numbers_of(report: dict, aim: float | None) -> dict[str, float]:
  """Returns the numbers of a report.json; those that a run does not have are missing.

  Args:
    aim: The test accuracy that `rounds_to` waits for; None: there is no such number.
  """
  tested = [(record['round'], record['evaluation']) for record in report['history'] if 'evaluation' in record]
  found = {
      **{name: report['evaluation'].get(name) for name in ('accuracy', 'auc')},
      **{f'best_{name}': max((one[name] for _, one in tested if one.get(name) is not None), default=None)
         for name in ('accuracy', 'auc')},
      'rounds_to': aim and next((number for number, one in tested if one.get('accuracy', 0) >= aim), None),
      'epsilon': ledger.of_report(report).epsilon,
      'client_worst': report['per_client'].get('worst'),
      'unseen_accuracy': ((report.get('unseen') or {}).get('evaluation') or {}).get('accuracy'),
      **{f'{whose}_{name}': ((report.get('personal') or {}).get(whose) or {}).get(name)
         for whose in ('shared', 'own') for name in ('mean', 'worst')},
      'gaining': (report.get('personal') or {}).get('gaining'),
      'train_seconds': report['seconds']['train']}
  return {name: value for name, value in found.items() if isinstance(value, (int, float)) and math.isfinite(value)}

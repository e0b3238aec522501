"""Makes a plan from flags' sections; no data set is opened, and what would need one is asked for."""

import dataclasses
from collections.abc import Sequence

from tff_vision import configs
from tff_vision.configs import federation_config, runtime_config
from tff_vision.federation import plan as plan_lib
from tff_vision.federation import reading
from tff_vision.program import json_file

_MOST_CLIENTS = 10**6


def make(config: configs.ExperimentConfig, schema: federation_config.SchemaConfig,
         sites: federation_config.SitesConfig, runtime: runtime_config.RuntimeConfig, *, fewer_clients: bool = False
         ) -> plan_lib.Plan:
  """Returns the plan of an experiment, whose data set becomes that of the sites.

  Args:
    fewer_clients: A round has all clients if the sites have fewer than the config says.

  Raises:
    ValueError: Something is missing, illegal or incompatible.
  """
  for name, value in (('dataset', config.data.dataset), ('data_dir', config.data.data_dir)):
    if value not in ('plan', getattr(configs.DataConfig(), name)):
      raise ValueError(f'{name}={value!r} has no effect here: a plan opens no data set; say with image_shape and '
                       'class_names what the sites\' images are.')
  config, found = dataclasses.replace(
      config, data=dataclasses.replace(config.data, dataset='plan', data_dir=None)), _sites(sites)
  population = sum(len(site.clients) for site in found)
  if fewer_clients and 0 < population < config.cohort.cohort_size:
    config = dataclasses.replace(config, cohort=dataclasses.replace(config.cohort, cohort_size=population))
  return plan_lib.make(config, _schema(config, schema), found, runtime,
                       shares_site_metrics=sites.shares_site_metrics,
                       most_examples=sites.most_examples if sites.private_counts else None)


def runtime_of(sites: federation_config.SitesConfig) -> runtime_config.RuntimeConfig:
  """Returns the runtime of a plan at these sites, each a worker that reads its own files, with the defaults.

  Raises:
    ValueError: A site is no name=host:port.
  """
  # The addresses are the plan's to check; here only their number counts.
  return runtime_config.RuntimeConfig(runtime='workers', local_workers=max(1, len(_sites(sites))),
                                      data_placement='worker')


def _schema(config, given):
  for name in ('image_shape', 'class_names'):
    if not getattr(given, name):
      raise ValueError(f'{name} is missing: a plan opens no data set to take it from.')
  if not isinstance(config.task.task, str):
    raise ValueError('task must be a name: sites rebuild what they compute from the plan alone.')
  usual = (0.0, 255.0) if given.image_dtype == 'uint8' else (0.0, 1.0)
  black_white = federation_config.numbers(given.stored_range) or usual
  height, width, channels = (int(float(side)) for side in given.image_shape)
  return plan_lib.Schema(
      image_shape=(height, width, channels), dtype=given.image_dtype, class_names=given.class_names,
      task=config.task.task, multi_label=given.multi_label, stored_range=(black_white[0], black_white[1]),
      mean=federation_config.numbers(given.pixel_mean), std=federation_config.numbers(given.pixel_std),
      measured=given.pixel_moments_measured)


def _sites(given) -> Sequence[plan_lib.Site]:
  if given.sites_file is not None:
    return _from_file(given.sites_file)
  return [_site(text) for text in given.sites]


def _site(text):
  name, equals, where = text.partition('=')
  address, slash, number = where.partition('/')
  if not (name and equals and address) or slash and not (number.isdecimal() and int(number)):
    raise ValueError(f'sites must be name=host:port or name=host:port/NUMBER_OF_CLIENTS each, found {text!r}.')
  if slash and int(number) > _MOST_CLIENTS:  # Each gets a name in the plan.
    raise ValueError(f'sites: {text!r} has more than {_MOST_CLIENTS:,} clients.')
  clients = tuple(f'{name}-{client + 1}' for client in range(int(number))) if slash else (name,)
  return plan_lib.Site(name=name, address=address, clients=clients)


def _from_file(path):
  found = json_file.load(path, f'sites_file={path!r}')
  if not isinstance(found, list):
    raise ValueError(f'sites_file={path!r} must hold a list of sites, found {type(found).__name__}.')
  parts = [reading.Part(f'a site in sites_file={path!r}', site, ('name', 'address', 'clients')) for site in found]
  return [plan_lib.Site(name=part.text('name'), address=part.text('address'), clients=part.texts('clients'))
          for part in parts]

"""A federation: the kind of its images, its sites, and the file of its plan."""

from absl import flags

from flags import experiment_flags, groups, program_flags, runtime_flags
from tff_vision import configs
from tff_vision.configs import federation_config, runtime_config
from tff_vision.federation import plan as plan_lib

SCHEMA = groups.of(federation_config.SchemaConfig, 'Federation: the sites\' images')
SITES = groups.of(federation_config.SitesConfig, 'Federation: its sites')
PLAN = groups.of(federation_config.PlanConfig, 'Federation')

# Flags of the machine that launches, which are not the plan's.
_LAUNCH = tuple(name for group in (program_flags.LAUNCH, program_flags.OUTPUT) for name in group.names)
_HERE = (*(name for group in runtime_flags.EXECUTORS for name in group.names), *plan_lib.RUNTIME, 'local_workers',
         'tls_ca')


def plan_file() -> str | None:
  """Returns the file of the plan, if one is given."""
  return groups.read(federation_config.PlanConfig()).plan


def schema_config() -> federation_config.SchemaConfig:
  """Returns the kind of images that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(federation_config.SchemaConfig())


def sites_config() -> federation_config.SitesConfig:
  """Returns the sites that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.made(federation_config.SitesConfig)


def of_plan(path: str) -> tuple[runtime_config.RuntimeConfig, configs.ExperimentConfig]:
  """Returns the runtime and the experiment of a plan's file; flags may change only what belongs to this machine.

  Raises:
    ValueError: There is no plan, it was made with other versions, or a flag would change it.
  """
  if 'dataset' in flags.FLAGS:  # Not every command has the flags of an experiment.
    experiment_flags.refuse_others(_LAUNCH, 'the plan decides')
  runtime_flags.refuse_others(_HERE, 'the plan decides')
  plan = plan_lib.read(path)
  plan.check_software()
  runtime = plan.run_by(local_workers=flags.FLAGS['local_workers'].value)
  return runtime_flags.chosen_runtime(runtime), plan.experiment(path)

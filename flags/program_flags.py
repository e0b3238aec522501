"""How long to train, and where files go."""

from absl import flags

from flags import groups
from tff_vision import configs

PROGRAM = groups.of(configs.ProgramConfig, 'Program and run folder')
LAUNCH, OUTPUT = groups.of(configs.LaunchConfig, 'Program and run folder')
GROUPS = (*PROGRAM, LAUNCH, OUTPUT)


def json_file() -> str | None:
  """Returns the file that also receives the numbers."""
  return flags.FLAGS['json'].value

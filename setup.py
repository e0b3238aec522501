"""Installs the package `tff_vision` into an environment that already holds the lock.

No requirement is declared here, on purpose: TensorFlow Federated 0.87.0 asks for a jaxlib that the package index no
longer has, so a resolver that hears its name can only fail, with a riddle. Instead this script looks for the locked
packages itself and says what to type when they are not there.
"""

from __future__ import annotations

import pathlib
import site
import sys

_ROOT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(_ROOT))  # A build front end does not put the checkout on the path.

from tff_vision.diagnosis import environment, lock  # noqa: E402


def refusal() -> str | None:
  """Why this environment cannot hold `tff_vision`, and the commands that mend it; None if it can."""
  # An isolated build hides the environment's packages from sys.path, so their folders are named.
  folders = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
  return environment.refusal(environment.environment_findings(_ROOT, folders),
                             what=f'tff_vision cannot be installed in {sys.prefix}', then=lock.INSTALL_PROJECT)


def main() -> None:
  message = refusal()
  if message:
    raise SystemExit(message)
  import setuptools
  setuptools.setup(
      name='tff_vision',
      version='0.1.0',
      description='Federated training of vision models with TensorFlow Federated.',
      python_requires='==3.11.*',
      packages=setuptools.find_packages(include=['tff_vision', 'tff_vision.*']),
      package_data={'': ['*.json', '*.html', '*.css', '*.npz', '*.txt']},
      zip_safe=False)


main()

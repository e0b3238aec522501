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

import tff_vision  # noqa: E402  Imports nothing heavy.
from tff_vision.diagnosis import environment, lock  # noqa: E402
from tff_vision.diagnosis.finding import Status  # noqa: E402


def main() -> None:
  # An isolated build hides the environment's packages from sys.path, so their folders are named.
  folders = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
  findings = environment.environment_findings(_ROOT, folders)
  if any(finding.status is Status.FAIL for finding in findings):
    raise SystemExit(environment.refusal(findings, what=f'tff_vision cannot be installed in {sys.prefix}',
                                         then=lock.INSTALL_PROJECT))
  import setuptools
  setuptools.setup(
      name='tff_vision',
      version=tff_vision.__version__,
      description='Federated training of vision models with TensorFlow Federated.',
      python_requires='==3.11.*',
      license='Apache-2.0',
      packages=setuptools.find_packages(include=['tff_vision', 'tff_vision.*', 'pipelines', 'pipelines.*', 'flags']),
      entry_points={'console_scripts': ['tff-vision = pipelines.command:main']},
      package_data={'': ['py.typed', '*.json', '*.html', '*.css', '*.j2', '*.npz', '*.txt', 'NOTICE'],
                    'pipelines': ['recipes/*']},
      zip_safe=False)


main()

"""The certificates of a plan's sites, as flags name their files."""

import pathlib
from collections.abc import Mapping, Sequence

from tff_vision.federation import plan as plan_lib


def of_sites(plan: plan_lib.Plan, texts: Sequence[str]) -> Mapping[str, pathlib.Path]:
  """Returns the files that SITE=FILE texts name, by the sites' names.

  Raises:
    ValueError: A text is another, names a site twice, or one that the plan does not have.
  """
  found: dict[str, pathlib.Path] = {}
  for text in texts:
    site, _, path = text.partition('=')
    if not path or site in found or site not in {one.name for one in plan.sites}:
      raise ValueError(f'site_certs must be SITE=FILE, once for each site of the plan, found {text!r}.')
    found[site] = pathlib.Path(path)
  return found

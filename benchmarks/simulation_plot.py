"""The picture of `benchmarks.simulation`: images per second of each system, one panel per workload."""

import pathlib
from typing import Any


def write(path: pathlib.Path, numbers: dict[str, Any]) -> None:
  """Writes a PNG file; dots are single measurements."""
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  works = numbers['workloads']
  figure, panels = pyplot.subplots(1, len(works), figsize=(4.2 * len(works), 3.4), squeeze=False)
  for panel, (name, work) in zip(panels[0], works.items(), strict=True):
    found = {system: n for system, n in work['systems'].items() if 'error' not in n}
    for place, (system, n) in enumerate(found.items()):
      panel.barh(place, n['images_per_second'], color='tab:blue' if system == 'this_pipeline' else 'lightgrey')
      turns = n['images_per_second_of_turns']
      panel.plot(turns, [place] * len(turns), 'k.', markersize=3)
    panel.set_yticks(range(len(found)), [system.replace('_', ' ') for system in found])
    panel.invert_yaxis()
    panel.set_title(f'{name} (clients x images)')
    panel.set_xlabel(f'images per second, {numbers["machine"]["cores"]} cores')
  figure.tight_layout()
  figure.savefig(path, dpi=150)

"""The figures of a comparison over hospitals."""

from collections.abc import Mapping

from matplotlib import figure

from tff_vision.report import figures
from tff_vision.studies.hospitals import ways

_CALIBRATED = (ways.REFERENCE, 'fedavg', 'personal', 'private_encrypted')


def areas(theme: figures.Theme, *, content: Mapping) -> figure.Figure:
  """Draws the AUC of every way with its interval, one panel per hospital."""
  names = [one['hospital'] for one in content['hospitals']]
  keys = list(content['ways'])
  fig = figure.Figure(figsize=(figures.WIDTH, 1.2 + 0.26 * len(keys)))
  panels = fig.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
  for axes, name in zip(panels, names, strict=True):
    for row, key in enumerate(keys):
      found = content['ways'][key]['hospitals'][name]
      color = theme.first if key in ways.WAYS else theme.third
      axes.plot(found['auc_interval'], [row, row], color=color, linewidth=1.6, solid_capstyle='butt')
      axes.plot(found['auc'], row, 'o', color=color, markersize=5)
    axes.axvline(content['ways'][ways.REFERENCE]['hospitals'][name]['auc'], color=theme.second, linestyle='--',
                 linewidth=1.1)
    axes.set_title(f'tested at {name}')
    axes.set_xlabel('AUC')
    axes.grid(True, axis='x')
    axes.grid(False, axis='y')
  panels[0].set_yticks(range(len(keys)), [content['ways'][key]['title'] for key in keys])
  panels[0].invert_yaxis()
  return fig


def reliability(theme: figures.Theme, *, content: Mapping) -> figure.Figure:
  """Draws the observed against the predicted frequency of the second class, one panel per hospital."""
  names = [one['hospital'] for one in content['hospitals']]
  fig = figure.Figure(figsize=(figures.WIDTH, 3.4))
  panels = fig.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
  for axes, name in zip(panels, names, strict=True):
    axes.plot([0, 1], [0, 1], color=theme.grid, linewidth=1.2)
    for color, key in zip(figures.CLASS_COLORS, _CALIBRATED, strict=False):
      curve = content['ways'][key]['hospitals'][name]['reliability']
      axes.plot([one['predicted'] for one in curve], [one['observed'] for one in curve], marker='o', markersize=3,
                linewidth=1.4, color=color, label=content['ways'][key]['title'])
    axes.set_title(name)
    axes.set_xlabel('predicted probability')
  panels[0].set_ylabel('observed frequency')
  fig.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=2, fontsize=8)
  return fig

"""Makes the plan of a federation: what will be computed, from what kind of images, at which sites. Opens no data set.

    python -m pipelines.plan --image_shape=28,28,1 --class_names=normal,abnormal --cohort_size=3 \\
      --sites=north=north.example:8443,south=south.example:8443,west=west.example:8443 --plan_out=plan.json

The coordinator trains with `python -m pipelines.train --plan=plan.json`, and every site gets the same file.
"""

import pathlib

from flags import experiment_flags, federation_flags, runtime_flags
from pipelines import launch


def main() -> None:
  sites = federation_flags.sites_config()
  from tff_vision.federation import making
  plan = making.make(experiment_flags.experiment_config(), federation_flags.schema_config(), sites,
                     runtime_flags.chosen_runtime())

  from tff_vision.federation import problem  # Imported late: TensorFlow takes seconds, but errors must be fast.
  found = problem.of(plan)
  model = found.keras_model()
  pathlib.Path(sites.plan_out).write_text(plan.to_json())
  print(f'{sites.plan_out}: {len(plan.sites)} sites, {len(plan.clients)} clients, {plan.rounds} rounds, model '
        f'{model.name} of {model.count_params():,} parameters.')
  print(f'digest: {plan.digest}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*federation_flags.SCHEMA, *federation_flags.SITES, *experiment_flags.GROUPS,
                                   *runtime_flags.GROUPS))

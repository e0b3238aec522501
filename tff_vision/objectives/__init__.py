"""What the model is for: outputs, loss, and how good it is, by task."""

from collections.abc import Callable, Mapping

from tff_vision import task_config
from tff_vision.objectives import anomaly, base, classification, embedding

Objective = base.Objective

# (settings, class names, whether there are several findings to an image, the normal class) -> what is learned
TASKS: Mapping[str, Callable[[task_config.TaskConfig, tuple[str, ...], bool, str | None], base.Objective]] = {
    'anomaly': anomaly.build,
    'classification': classification.build,
    'embedding': embedding.build,
}

"""What is learned from which images: data, task and model."""

from flags import groups
from tff_vision import configs

DATA, SCHEMES, SHIFT, IMAGES, AUGMENTATION, FILES, FORMATS = groups.of(configs.DataConfig, 'Data and partition')
TASK = groups.of(configs.TaskConfig, 'Task')
MODEL = groups.of(configs.ModelConfig, 'Model')
IMAGE_GROUPS = (DATA, SCHEMES, SHIFT, IMAGES, FILES, FORMATS)
GROUPS = (*IMAGE_GROUPS, AUGMENTATION, *TASK, *MODEL)

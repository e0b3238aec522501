"""Who takes part in a round, and devices that come and go."""

from flags import groups
from tff_vision import configs

GROUPS = groups.of(configs.CohortConfig, 'Participation')

"""Pictures of a dataset and of what a config makes of it, for a person to look at before a training."""

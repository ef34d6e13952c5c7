"""Programs that train, sample and evaluate."""

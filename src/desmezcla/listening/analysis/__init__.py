"""From answers to a report: screening, means with intervals, models, tests, correlations, plots."""

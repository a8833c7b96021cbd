"""Turn the records of a trial into scores, comparisons, a verdict and a recommendation; needs no model."""

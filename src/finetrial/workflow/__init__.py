"""The steps of a trial: their order, what is current, what is run again."""

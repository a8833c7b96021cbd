"""The plan of a trial: memory, time, price, disk and sample size before anything runs. No torch."""

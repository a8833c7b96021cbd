"""In which order does a trial happen, and what of it is already done?

check -> tune -> sample -> score -> report. Every step records what it consumed; a step whose inputs and outputs
still agree is skipped, the others say what changed. The rooms meet here and in the trial folder, nowhere else.
"""

"""What a card gives: tuning beside TRL, attention, sampling, the tests that need one; in parts of minutes each."""

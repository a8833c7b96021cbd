"""What a card gives: tuning beside TRL, attention, sampling and the tests that need one, in parts of minutes each."""

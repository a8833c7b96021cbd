"""Any adapter that peft makes of a configuration given as it is."""

"""How fast and how lean is tuning, beside TRL's SFTTrainer and beside what the machine's matrix products allow?"""

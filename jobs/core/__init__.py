"""What every job shares. Knows no pattern, and importing any of it starts nothing."""

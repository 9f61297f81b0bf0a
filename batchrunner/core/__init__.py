"""Pure rules: facts, states, decisions. No I/O, no clock, no randomness; standard library only."""

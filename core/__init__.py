"""Everything that decides: pure functions over values, with no network, clock, chance, environment or log."""

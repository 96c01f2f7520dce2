"""Training with Lightning: what to minimise, by which optimizer and schedule, for how long, and safely."""

"""PinnerSage: interests by clustering item vectors that already exist. No training, no torch."""

"""PinnerSage: interests by clustering item vectors, without training."""

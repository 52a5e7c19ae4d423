"""Where blocks run. Knows nothing about mining."""

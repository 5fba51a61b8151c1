"""Review: people decide the products whose predictions are not accepted."""

"""Networks that draw coarse masks, and the cascade: classifiers say which of them see an image."""

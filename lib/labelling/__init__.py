"""People label pictures by hand, on a page of this machine, beside the networks (Q2)."""

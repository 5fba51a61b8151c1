"""Part of an index: which products a rehearsal draws, and the tables without the others."""

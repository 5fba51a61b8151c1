"""The machine: processes, threads, devices, ranks, logging."""

"""Faults of a real job on real servers: what the tests of faults and scripts/chaos share. Nothing of it goes with a job."""

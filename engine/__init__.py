"""The science: pure functions; no clock, no network, no AWS, no language model."""

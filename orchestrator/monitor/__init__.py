"""Monitoring of loss and speed while a run trains: spikes, divergence, overfitting, stragglers."""

"""Connects to Ray, reserves resources and launches worker groups, on Ray or on this host."""

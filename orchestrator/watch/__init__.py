"""Looking on while a run trains, and afterwards: findings and what is done about them, views, exports."""

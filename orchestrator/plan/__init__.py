"""Plans a run: its tasks, their hosts, and the cost. Pure: nothing is started."""

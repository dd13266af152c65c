"""A spec laid out as tasks, hosts and cost. Pure: nothing is started."""

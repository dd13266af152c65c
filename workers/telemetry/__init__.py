"""What a replica, its host and its GPUs are doing. psutil and pynvml are imported here only."""

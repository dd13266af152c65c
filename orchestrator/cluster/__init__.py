"""Ray, and the only package that knows it: connection, token, reservations, worker groups."""

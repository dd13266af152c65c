"""Run folders: everything that is read from them and written to them."""

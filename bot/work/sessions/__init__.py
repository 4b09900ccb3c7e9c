"""Sessions in other threads: which there are, opening one, copying one."""

"""Hands: sockets, files, processes, clocks, threads."""

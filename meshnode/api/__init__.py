"""Local doors: HTTP on a unix socket."""

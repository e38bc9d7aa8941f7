"""Events as compressed segments in order of arrival, indexed by runs: bytes in, bytes out; engines supply the tables.

A commit appends segments; nothing of them is written again, unless they were small. When enough have gathered, a *run*
indexes them: when their events happened, what they are about (``words``), and which segment holds which numbers of
which node (``posts``). Until then that index lives in memory and is rebuilt from the segments at a start.
"""

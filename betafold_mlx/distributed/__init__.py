"""Several ranks, processes on one machine or on many, that work as one: who they are, and how they talk.

`ranks.join` makes the `ranks.Ranks` of this process; a process that was started by itself gets `ranks.ALONE`.
"""

"""Recovery as a run of steps: one engine for a drill, both failovers and the failback.

`graph` says what must happen and in which order, `state` what has happened (a pure function of the
journal's events), `journal` keeps the events through kill -9, and `runner` carries the steps out.
"""

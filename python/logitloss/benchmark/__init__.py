"""What ``logitloss bench`` runs: the speed of this package beside that of its peers.

`peers` says how each library is called, `measure` checks and times them in turn within one
process, `worker` is that process (there is one for each number of threads, because some libraries
read theirs when they are imported), `run` collects the results and prints them, `plot` draws them,
and `ladder` compares calls of this package with one another.
"""

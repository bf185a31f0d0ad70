"""See what a switch did: runs grouped by what was switched, over seeds, with a verdict.

asked      which runs are meant           runs      what a run was, from its folder or its store
settings   what differs between them      groups    the runs of one setting, and what they came to
fair       what can't be compared         verdict   whether two settings differ, and by how much
curves     mean and band over seeds       comparison  all of it
plot, report, show                        as a picture, as a page, on a terminal
"""

"""Many runs as one thing that finishes: a plan, a process for each job, a ledger that outlives them."""

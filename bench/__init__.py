"""`winnow bench`: the service beside its bare parts on this machine, and settings tuned to it."""

"""Remember finished calls: the key of a call, its lookup, and the stores of results."""

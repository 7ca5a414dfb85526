"""How a run moves: the position, the function that advances it, the calls, and the drivers."""

"""Walk a flow one node at a time, forwards and backwards, without paying twice. Knows no widget."""

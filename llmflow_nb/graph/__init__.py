"""A flow as a graph: plain data, and writers that turn it into DOT, SVG and text. Runs nothing of the user's."""

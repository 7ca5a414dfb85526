"""What is shown in a cell."""

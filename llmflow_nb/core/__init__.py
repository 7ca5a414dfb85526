"""What a flow is: nodes, flows, their hooks and their wiring. Standard library only."""

"""The public methods of nodes, runs and batches that need the layers above: run, submit, graph, stepper, display.

Only the files of this folder import from the layers above their own. They do so inside their functions, so that
``core`` can be imported alone, and importing the package stays cheap.
"""

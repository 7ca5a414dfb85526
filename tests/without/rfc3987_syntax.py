"""Hides a module of this name from ``jsonschema``, which builds 38 parsers of addresses when it finds one.

That takes 2 s in each process that reads or serves notebooks. No test checks such an address.
"""

raise ImportError(__doc__)

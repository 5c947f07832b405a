"""Serving in the cluster that the operator runs in, AKS or any other.

Pure half: render, template, sources, assess, pods, trouble. The other modules do the I/O.
"""

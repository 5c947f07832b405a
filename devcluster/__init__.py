"""A real one-node Kubernetes on a bare Debian machine, for the demo and the tests.

The product never imports this package, and nothing in here knows the product beyond the names of its images.
`python -m devcluster --help` lists the verbs; README.md tells what each does and what cost time to find out.
"""

"""The resources that users write and read, as types: the one source of the CRDs."""

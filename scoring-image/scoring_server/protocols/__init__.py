"""Wire shapes and values, both ways. Pure: bytes in, arrays or documents out; no socket, no model, no clock."""

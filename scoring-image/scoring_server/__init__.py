"""The scoring server: Azure ML scripts unchanged, and ONNX models without any code."""

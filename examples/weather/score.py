"""Rain tomorrow (1) or not (0), for rows of [precipitation mm, temp_max °C, temp_min °C, wind m/s].

Two models work together: the scaler as it was fitted in training, then the support vector classifier.
"""

import json
import os
from pathlib import Path

import joblib
import numpy as np
import onnxruntime

FEATURES = ["precipitation", "temp_max", "temp_min", "wind"]


def init():
    """With several models AZUREML_MODEL_DIR is the folder above <model>/<version>/<file>."""
    global scaler, classifier
    models = Path(os.environ["AZUREML_MODEL_DIR"])
    (scaler_file,) = models.glob("weather-scaler/*/scaler.joblib")
    (classifier_file,) = models.glob("support-vector-classifier/*/svc.onnx")
    scaler = joblib.load(scaler_file)
    classifier = onnxruntime.InferenceSession(str(classifier_file), providers=["CPUExecutionProvider"])


def run(raw_data):
    rows = parse(raw_data)
    scaled = scaler.transform(rows)  # never fit here: a request's own mean says nothing
    (labels,) = classifier.run(["label"], {"features": scaled.astype(np.float32)})
    return {"result": labels.tolist()}


def parse(raw_data):
    """The rows of {"data": [[…], …]}. What is wrong is said in words, which the server logs with the traceback."""
    request = json.loads(raw_data)
    if not isinstance(request, dict) or "data" not in request:
        raise ValueError(f'the request must be {{"data": [[{", ".join(FEATURES)}], …]}}')
    rows = np.array(request["data"], dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(FEATURES):
        raise ValueError(f"each row of data must hold {len(FEATURES)} numbers: {', '.join(FEATURES)}")
    if not np.isfinite(rows).all():
        raise ValueError("data must hold finite numbers only")
    return rows

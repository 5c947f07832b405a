"""The probability of diabetes for each record of {"input": "[{…}, …]"}: a JSON list inside a JSON string.

A measurement that is missing is null; the pipeline fills it with the median that it learned.
"""

import json
import os
from pathlib import Path

import joblib
import pandas as pd

FEATURES = ["npreg", "glu", "bp", "skin", "bmi", "ped", "age"]


def init():
    """With one model AZUREML_MODEL_DIR is its version's folder."""
    global pipeline
    pipeline = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "pipeline.joblib")


def run(raw_data):
    return {"proba": pipeline.predict_proba(parse(raw_data))[:, 1].tolist()}


def parse(raw_data):
    """The records as a table in the order of training. What is wrong is said in words, which the server logs."""
    request = json.loads(raw_data)
    if not isinstance(request, dict) or not isinstance(request.get("input"), str):
        raise ValueError('the request must be {"input": "[{…}, …]"}: a JSON list of records inside a string')
    records = json.loads(request["input"])
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise ValueError("input must hold a list of at least one record")
    for number, record in enumerate(records):
        if missing := [name for name in FEATURES if name not in record]:
            raise ValueError(f"record {number} lacks {', '.join(missing)}; write null where it was not measured")
    return pd.DataFrame.from_records(records, columns=FEATURES).astype("float64")

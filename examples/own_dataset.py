"""An own dataset: scikit-learn's breast cancer data as a task of real-valued columns.

    python -m launch.sweep --plugin=examples/own_dataset.py --tasks=tumours --batch_size=20
    python -m launch.bank --plugin=examples/own_dataset.py --tasks=tumours --batch_size=20 --num_models=32

Records, labels, or whatever function returns them: encoding, classes and sizes are read off them, and told.
A file does without Python:

    python -m launch.bank --data=tumours.npz --batch_size=20 --num_models=32
    python -m launch.sweep --data=churn.parquet --label=left
"""

from sklearn.datasets import load_breast_cancer

from jleaks import data


def tumours():
    """Returns 569 records of 30 numbers, and whether each tumour is benign."""
    return load_breast_cancer(return_X_y=True)


data.register(data.Task("tumours", title="Tumours", data=tumours))

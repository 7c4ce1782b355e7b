"""A model behind an API that is not jleaks': as TensorFlow Serving answers, with a key, 64 records at most.

python examples/serve_digits.py [FOLDER] [PORT]

Trains a network on half of scikit-learn's digits, writes what its owner has (records.npz) and the key that
a client needs (headers.txt) to FOLDER, and answers until it is stopped.  `fit` and `predict` are how its
owner trains models of its kind.
"""

import http.server
import json
import secrets
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier


def fit(records, labels, seed=0):
    with warnings.catch_warnings():
        # So few epochs do not converge, nor are they meant to.
        warnings.simplefilter("ignore")
        return MLPClassifier((64,), max_iter=60, random_state=seed).fit(records, labels)


def predict(model, records):
    return model.predict_proba(records)


def handler(model, key, most_records=64):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(*self.predicted(body))

        def predicted(self, body):
            if self.path != "/v1/models/digits:predict":
                return 404, {"error": "no such model"}
            if not secrets.compare_digest(self.headers.get("X-API-Key", ""), key):
                return 401, {"error": "no key"}
            instances = json.loads(body)["instances"]
            if len(instances) > most_records:
                return 413, {"error": f"at most {most_records} instances"}
            return 200, {"predictions": predict(model, np.array(instances)).round(6).tolist()}

        def answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "digits")
    folder.mkdir(parents=True, exist_ok=True)
    x, y = load_digits(return_X_y=True)
    x /= 16
    member = np.random.default_rng(0).permutation(len(y)) < len(y) // 2
    np.savez(folder / "records.npz", x=x, y=y, member=member)
    (folder / "headers.txt").write_text(f"X-API-Key: {(key := secrets.token_hex(8))}\n")
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8501
    model = fit(x[member], y[member])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler(model, key))
    print(f"serving http://127.0.0.1:{server.server_port}/v1/models/digits", flush=True)
    server.serve_forever()

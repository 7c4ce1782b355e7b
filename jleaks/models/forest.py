"""Random forests: models that are trained on the host and, like those of a fleet, answer posteriors.

Salem et al. 2019 need them three times: as a target whose kind the attacker does not know and as a shadow
of the combining attack (section IV), as a further attack model, and as the second base model of a stack
(section VII-B).  The trees are scikit-learn's (Breiman 2001; every tree on a bootstrap of the records, a
forest's posterior the mean of its trees').
"""

import dataclasses
import warnings
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, Int, Num, UInt32

from jleaks import settings
from jleaks.data import encodings
from jleaks.errors import InputError, refuse
from jleaks.fields import Count, problems

MaxFeatures = Literal["sqrt", "log2"]

# Records encoded at a time: News has 10,000 terms, dense for one block only.  Every block is padded to
# this many, so one program encodes all of them and a record's inputs never depend on its company.
_BLOCK = 1000

_fit = jax.jit(encodings.fit, static_argnums=0)
_encode = jax.jit(encodings.encode, static_argnums=0)


@dataclasses.dataclass(frozen=True)
class ForestRecipe:
    """How one forest is grown.

    Attributes:
      num_trees: Trees; a posterior is the mean of theirs.
      max_depth: Splits from a root to a leaf at most; None grows until leaves are pure.
      min_leaf: Records in a leaf at least.
      max_features: Features tried at each split, of d: "sqrt" or "log2" of d.
    """

    num_trees: Count = 100
    max_depth: Count | None = None
    min_leaf: Count = 1
    max_features: MaxFeatures = "sqrt"

    def problems(self, what: str) -> list[str]:
        """Returns one sentence per value that no forest can be grown with."""
        return problems(self, what)


@dataclasses.dataclass(frozen=True, eq=False)
class Trees:
    """A grown forest over inputs that are encoded already.

    Attributes:
      classifier: scikit-learn's; its classes are those that occurred in training.
      num_classes: K.
    """

    classifier: Any
    num_classes: int

    def posteriors(self, inputs: Any) -> Float[np.ndarray, "batch k"]:
        """Answers [B, K] float32 posteriors for inputs [B, d] (an array or sparse rows).

        A class that the training part lacked has posterior 0.
        """
        answers = np.zeros((inputs.shape[0], self.num_classes), np.float32)
        if inputs.shape[0]:
            answers[:, self.classifier.classes_] = self.classifier.predict_proba(inputs)
        return answers

    def out_of_bag(self, inputs: Any) -> Float[np.ndarray, "records k"]:
        """Answers [n, K] float32 for the training records, each by the trees that did not see it.

        About a third of the trees per record (Breiman 2001, section 3.1).  What all trees together
        answer to a training record is its own label remembered; this is what they would answer had
        it been left out.  A record that every tree saw has the uniform posterior.

        Args:
          inputs: [n, d] what the forest was grown on, in the same order.
        """
        n = inputs.shape[0]
        total = np.zeros((n, len(self.classifier.classes_)))
        trees = self.classifier.estimators_
        for tree, seen in zip(trees, self.classifier.estimators_samples_, strict=True):
            out = np.setdiff1d(np.arange(n), seen)
            if len(out):
                total[out] += tree.predict_proba(inputs[out])
        votes = total.sum(1, keepdims=True)
        answers = np.zeros((n, self.num_classes), np.float32)
        answers[:, self.classifier.classes_] = total / np.maximum(votes, 1)
        answers[votes[:, 0] == 0] = 1 / self.num_classes
        return answers


def grow(
    recipe: ForestRecipe,
    inputs: Any,
    labels: Int[np.ndarray, "records"],
    num_classes: int,
    key_data: UInt32[np.ndarray, "2"],
) -> Trees:
    """Grows a forest on all cores; which and how many they are changes nothing.

    Args:
      recipe: How.
      inputs: [n, d] float32 encoded training records, an array or sparse rows.
      labels: [n] in 0..K-1.
      num_classes: K.
      key_data: The model's key data, from which bootstraps and the features tried are drawn.

    Raises:
      InputError: the recipe cannot be used, there is no record, a label is out of range, or
        scikit-learn is not installed.
    """
    found = recipe.problems("forest")
    if not len(labels):
        found.append("a forest was to be grown on 0 records, expected at least 1")
    elif labels.min() < 0 or labels.max() >= num_classes:
        found.append(f"labels are {labels.min()}..{labels.max()}, expected 0..{num_classes - 1}")
    refuse(found)
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise InputError(
            f"random forests need scikit-learn ({error}): pip install jleaks[datasets]"
        ) from error
    classifier = RandomForestClassifier(
        n_estimators=recipe.num_trees,
        max_depth=recipe.max_depth,
        min_samples_leaf=recipe.min_leaf,
        max_features=recipe.max_features,
        n_jobs=-1,
        random_state=int(np.random.SeedSequence(key_data.tolist()).generate_state(1)[0]),
    )
    with warnings.catch_warnings():
        # A hundred classes stay classes where there are only a hundred records.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        classifier.fit(inputs, labels)
    # Threads would add up the trees' posteriors in the order in which they happen to finish, and the
    # last bit would follow it; one thread adds them in the order of the trees.
    classifier.set_params(n_jobs=1)
    return Trees(classifier, num_classes)


@dataclasses.dataclass(frozen=True, eq=False)
class Forest:
    """A forest over stored records, with an encoding of its own.

    Attributes:
      encoding: Name of the encoding (see `jleaks.data.encodings`).
      statistics: The encoding's, fitted on the forest's own training part.
      record_shape: Shape of one stored record.
      trees: The trees.
    """

    encoding: str
    statistics: encodings.Statistics
    record_shape: tuple[int, ...]
    trees: Trees

    @classmethod
    def fit(
        cls,
        recipe: ForestRecipe,
        encoding: str,
        features: Num[np.ndarray, "records ..."],
        labels: Int[np.ndarray, "records"],
        members: Int[np.ndarray, "members"],
        num_classes: int,
        key_data: UInt32[np.ndarray, "2"],
    ) -> "Forest":
        """Trains a forest; of the dataset it looks at the training part only.

        Args:
          recipe: How.
          encoding: As the task's network models use.
          features: [N, ...] stored records of the dataset.
          labels: [N] in 0..K-1.
          members: [n] distinct positions of the training part in the dataset, without padding.
          num_classes: K.
          key_data: The model's key data (`jleaks.training.fleet.stack_key_data`).

        Raises:
          InputError: a member repeats or lies outside the dataset; JAX is set to compute other numbers;
            or as `grow`.
        """
        settings.check()
        if not len(members):
            raise InputError("a forest was to be trained on 0 records, expected at least 1")
        if members.min() < 0 or members.max() >= len(features):
            raise InputError(
                f"members are {members.min()}..{members.max()}, "
                f"expected positions in 0..{len(features) - 1}"
            )
        if len(np.unique(members)) < len(members):
            raise InputError(
                f"of {len(members)} members only {len(np.unique(members))} are distinct, "
                "expected every record once"
            )
        own = features[members]
        count = np.int32(len(own))
        statistics = _fit(encoding, own, np.arange(len(own), dtype=np.int32), count)
        inputs = _inputs(encoding, statistics, own)
        trees = grow(recipe, inputs, labels[members], num_classes, key_data)
        return cls(encoding, statistics, own.shape[1:], trees)

    def posteriors(
        self, records: Num[np.ndarray, "batch ..."]
    ) -> Float[np.ndarray, "batch num_classes"]:
        """Answers [B, K] float32 posteriors for stored records [B, ...].

        Raises:
          InputError: the records have another shape than those of the training part.
        """
        if records.shape[1:] != self.record_shape:
            raise InputError(
                f"a record has shape {records.shape[1:]}, the forest learned from {self.record_shape}"
            )
        answers = np.zeros((len(records), self.trees.num_classes), np.float32)
        for start in range(0, len(records), _BLOCK):
            block = records[start : start + _BLOCK]
            inputs = _inputs(self.encoding, self.statistics, block)
            answers[start : start + _BLOCK] = self.trees.posteriors(inputs)
        return answers


def _inputs(encoding: str, statistics: encodings.Statistics, records: np.ndarray) -> Any:
    """Encodes records [n, ...] block by block to float32 [n, d], sparse rows where d counts terms.

    A post uses about fifty of 10,000 terms: sparse rows need little memory and less time, and the
    trees are the same.
    """
    from scipy import sparse

    blocks, is_sparse = [], encodings.find(encoding).is_sparse
    for start in range(0, len(records), _BLOCK):
        block = records[start : start + _BLOCK]
        padding = [(0, _BLOCK - len(block))] + [(0, 0)] * (block.ndim - 1)
        inputs = np.asarray(_encode(encoding, statistics, np.pad(block, padding)))
        inputs = inputs[: len(block)].reshape(len(block), -1)
        blocks.append(sparse.csr_array(inputs) if is_sparse else inputs)
    return sparse.vstack(blocks, format="csr") if is_sparse else np.concatenate(blocks)

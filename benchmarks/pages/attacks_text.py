"""What the page of benchmarks.pages.attacks says beside its numbers."""

from jleaks.report.numbers import FEW_NOTE

HEAD = """# Attacks on banks of models

A *bank* is many models of one task, each trained on a random half of the same records. Every model is
the target of every attack in turn, the others are its references: one training, as many evaluations as
there are models. This page is generated from the committed rows in `results/bank/` by `python -m
benchmarks.pages.attacks`.

<!-- not run: README.md prints the same commands -->
```
python -m launch.bank --tasks=location --data_dir=data --workdir=checkpoints/bank
python -m launch.attack --signals=checkpoints/bank/location/bank.npz
python -m benchmarks.attack_cost --banks=checkpoints/bank/location/bank.npz --out_dir=results/cost
```

## How to read the numbers

- Models come in *twins*: the second trains on the records that the first does not. A target's twin is
  never its reference, so that exactly half of the references hold any record, whether or not the target
  does. With the twin among them the count alone would tell. In a score file twins are found in any order,
  and where counts would still tell, every record takes equally many references of either side.
- Thresholds (for precision, recall, balanced accuracy) come from a shadow model, attacked in the same
  way with references of its own; never from the target's membership. TPR at a stated FPR takes the
  operating point from the target's own ROC curve, as the literature does.
- ± is the half-width of a 95% interval over records; [low, high] is one that is not symmetrical. All
  targets of a bank are judged by the same records, and one that is easy to tell is easy under many of them:
  so the record is the unit, its influence is summed over all targets, and the sum of squares is the
  variance (DeLong's placements for the AUC, the linearised ratio or rate for the rest). It says how far
  another draw of records would move the mean, given these models: targets and the references that they
  share are taken as they are, and banks of other seeds vary beyond it. Records count as independent given
  the models, which is a model of the data. Differences of attacks are taken record by record in the same
  way, and a star or bold type says that the interval leaves out zero. (4 of 5): the mean over the 4 of 5
  targets in which the value is defined; the precision of an attack that calls nobody a member is not.
- TPR at FPR f is the largest TPR among thresholds whose realised FPR is at most f; ties move together.
  Where f allows less than one non-member, it is the TPR above the highest non-member. Such a threshold
  stands at the non-member after the last one allowed, so that its true FPR is larger than f on average.
  {few}
  The interval of a marked mean reaches from below an estimate without that bias, interpolated to the
  thresholds whose expected FPR is f, to above the one that is shown.
- A single target's `tpr_low` and `tpr_high` in `rows.jsonl` cover its TPR at the named FPR with at least
  95% in samples of any size, although the threshold is chosen on the same records: they are
  Clopper-Pearson bounds at two other thresholds, one that lets in so few non-members that its true FPR is
  at most f, one that lets in so many that it is at least f (a threshold at the (j + 1)-th highest of n
  non-members has a true FPR that follows Beta(j + 1, n - j)). Where f allows too few non-members to tell,
  the lower bound is 0.
- Attack-R's share, label only and correctness take few values. So many non-members share the largest with
  the members that no threshold has an FPR of 0.1%, and the TPR there is 0; their AUC is not touched by it.
  Attack-R itself interpolates the references' losses, as its authors' code does; "linear and logit" takes
  the smaller of two thresholds.
- RMIA is at temperature 2 and weighs IN and OUT equally; its offline form chooses a (0, 0.1, ..., 1) by
  the AUC on a shadow, as its authors' code does. BASE is at temperature 1, as published; "tempered" is at
  temperature 2 (offline with the OUT mean scaled by 0.33), as LeakPro, from its authors' group, has it. At
  one temperature BASE online ranks records as RMIA online does. RMIA's z are all records of the bank.
- LiRA takes each record's own variance or one for all, whichever has the larger AUC on a shadow of the
  target; both forms stand below it. BaVarIA's prior is ours (`jleaks/attacks/bavaria.py`), since only the
  family is taken from the paper. "All queries" averages over the record and perturbed copies:
  shifts and mirror images, or noise up to twice the record's own length, most of which says little on
  these data.
""".replace("{few}", FEW_NOTE)

NULL = """Membership drawn afresh for trained models ("redrawn": it has nothing to do with who was
trained on), and models that were never trained: every attack must fail. No epsilon bound of 95% confidence
may be above zero in more than 5% of draws, up to the noise of so many draws. The intervals are
nominally 95%: those over records, of the mean over targets and of one target, cover as they say; the t
interval over the targets of one bank, which earlier versions showed, is too narrow for attacks that compare
with references, because all targets share records and references. Each draw uses 16 models (`python -m
benchmarks.checks.null_banks`); -: measured before that interval existed."""

COVERAGE = """Banks are simulated whose truth is known: records of different difficulty, gain from
being trained on and noise, which all models share; a *null* without any gain, and an *alternative*. Records
are independent, and the truth is what an attack finds on average over fresh records of the same process,
measured on banks of very many. Each bank is evaluated by jleaks' own evaluator. *Before* is what this
page showed until intervals were over records. The TPR's intervals cover more often than they say, because
two errors, of the threshold and of the members found there, are each bounded; where 0.1% allows two
non-members they are wide for that reason. Precision and balanced accuracy are at given thresholds, of the
loss alone: other scores move with the rest of their bank, and a threshold with them. (`python -m
benchmarks.checks.coverage`)"""

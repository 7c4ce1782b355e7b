"""Audits of a model of one's own: records and a way to train in, a verdict with its evidence out.

    records.py   the records: data of any kind, labels, who was trained on, ids and groups
    shadows.py   shadow models of any library, trained in a pool of processes, their answers kept
    answers.py   what models answered, as a bank whose first model is the audited one
    attacks.py   which attacks what was given allows, their scores, the one that an attacker would choose
    risk.py      thresholds from shadows alone, p-values of records, precision at a prior, groups
    verdict.py   the level of risk, by a stated rule
    audit.py     one call for all of it

The report is `jleaks.report.audit_page`, the gate of a release pipeline `policy.py`.
"""

"""An attack of one's own: is the target surer of a record than any reference that did not train on it?

python -m launch.attack --plugin=examples/own_attack.py --attacks=gap_to_best,lira_online --signals=bank.npz
"""

from jleaks.attacks.per_record import attack_on


@attack_on
def gap_to_best(own, out):
    return own.phi - out.max("phi")

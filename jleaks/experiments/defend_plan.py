"""What defines the numbers of a comparison of defences."""

import dataclasses
from typing import ClassVar

from jleaks.data import canaries
from jleaks.errors import InputError
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.fields import Number


@dataclasses.dataclass(frozen=True)
class DefendPlan(PaperPlan):
    """Everything that defines the numbers of a comparison of defences.

    Attributes:
      defences: Each at one strength, "NAME:STRENGTH".
      bank_models: Number of models in the bank of each defence at each strength, even, at least 4; 0 for no
        banks.
      canaries: Records made easy to tell among the banks' candidates, "KIND:COUNT,..." (see
        `jleaks.data.canaries`); None for none.
    """

    kind: ClassVar[str] = "defend"

    defences: tuple[str, ...] = ()
    bank_models: Number = 0
    canaries: str | None = None

    def validate(self) -> "DefendPlan":
        """Checks everything that can be known before any data is read; see `PaperPlan.validate`."""
        super().validate()
        # A plan is made and described without JAX.
        from jleaks.defences.defence import get_defence

        if not self.defences:
            raise InputError("no defence was named")
        for given in self.defences:
            get_defence(given)
        if len(set(self.defences)) < len(self.defences):
            raise InputError(f"a defence is named twice in {'; '.join(self.defences)}")
        if self.bank_models and (self.bank_models < 4 or self.bank_models % 2):
            raise InputError(
                f"bank_models is {self.bank_models}, expected 0 or an even number of at least 4: models "
                "come in pairs that share the records between them"
            )
        if self.canaries is not None:
            if not self.bank_models:
                raise InputError(
                    f"canaries are {self.canaries}, but bank_models is 0: there are no banks for them"
                )
            canaries.read(self.canaries)
        return self

    def digests(self) -> dict[str, str]:
        """Returns the digests of the files of users' defences."""
        return {
            name: digest
            for given in self.defences
            for name, digest in self.defence_digests(given).items()
        }

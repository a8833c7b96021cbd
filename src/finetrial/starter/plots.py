"""Deal the combinations of a post's content into training, validation and held-out splits.

A plot is (situation, complication, person, question). Two plots that share situation and complication always stand
in the same split, so a held-out post tells of a pairing that no training post has told, whoever it is about and
whatever is asked. Each family's pairings are dealt out by one fixed shuffle, which depends on the material alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from finetrial.starter.material import Family, Material
from finetrial.starter.wording import shuffled

SPLITS = ("train", "validation", "heldout")
PARTITION_SEED = 20240601  # a date; any number would do, but it may not change without a new base
VALIDATION_PAIRINGS = 2  # of a family's 24 pairings: 8 %
HELDOUT_PAIRINGS = 3  # of a family's 24 pairings: 12.5 %


@dataclass(frozen=True, slots=True)
class Plot:
    """What one post tells, as indices into its family."""

    family: int
    situation: int
    complication: int
    person: str
    ask: int

    def pairing(self) -> tuple[int, int, int]:
        """What decides the split."""
        return (self.family, self.situation, self.complication)


def split_pairings(material: Material) -> dict[str, tuple[tuple[int, int, int], ...]]:
    """For each split its (family, situation, complication) pairings. Disjoint, and together all of them.

    No situation and no complication gives more than two of its pairings away, so each is met in training.
    """
    dealt: dict[str, list[tuple[int, int, int]]] = {split: [] for split in SPLITS}
    rng = Random(PARTITION_SEED)
    for index, family in enumerate(material.families):
        for pairing, split in _deal(family, index=index, rng=rng):
            dealt[split].append(pairing)
    return {split: tuple(sorted(pairings)) for split, pairings in dealt.items()}


def plots_of(material: Material, pairings: tuple[tuple[int, int, int], ...]) -> tuple[Plot, ...]:
    """Every plot of these pairings, in a fixed order."""
    return tuple(
        Plot(family=family, situation=situation, complication=complication, person=person, ask=ask)
        for family, situation, complication in pairings
        for person in material.families[family].people
        for ask in range(len(material.families[family].asks))
    )


def _deal(family: Family, *, index: int, rng: Random) -> list[tuple[tuple[int, int, int], str]]:
    pairings = [
        (index, situation, complication)
        for situation in range(len(family.situations))
        for complication in range(len(family.complications))
    ]
    given_situations: dict[int, int] = {}
    given_complications: dict[int, int] = {}
    wanted = ["heldout"] * HELDOUT_PAIRINGS + ["validation"] * VALIDATION_PAIRINGS
    dealt = []
    for pairing in shuffled(rng, pairings):
        _, situation, complication = pairing
        spare = given_situations.get(situation, 0) < 2 and given_complications.get(complication, 0) < 2
        if wanted and spare:
            given_situations[situation] = given_situations.get(situation, 0) + 1
            given_complications[complication] = given_complications.get(complication, 0) + 1
            dealt.append((pairing, wanted.pop()))
        else:
            dealt.append((pairing, "train"))
    assert not wanted, "a family has enough pairings to give five away"
    return dealt

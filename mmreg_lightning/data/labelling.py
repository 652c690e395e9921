"""What the ids of label maps mean: organs are matched by their names, which a data set's description gives."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.geometry.volume import Volume

log = logging.getLogger(__name__)
_BACKGROUND, _IGNORE = "background", "ignore"


@dataclass(frozen=True)
class Labelling:
    """How the label map of one image is read.

    Attributes:
        ids: (id in the file, id by which the data set knows the organ); ``IGNORED`` for voxels that count nowhere, 0
            for an organ that the image is said not to have labelled. The background has no entry.
        labelled: ids, as the data set knows them, of the organs that are labelled in the image; its background may be
            any other organ.
        source: where the ids are declared, for messages.
        strict: False reads an id that is not declared as background.
    """

    ids: tuple[tuple[int, int], ...]
    labelled: tuple[int, ...]
    source: str
    strict: bool = True

    def apply(self, labels: Volume) -> Volume:
        """The label map (1, I, J, K) with the data set's ids in place of the file's.

        Raises:
            UserError: it holds an id that is not declared.
        """
        wanted = dict(self.ids)
        shown = labels.label_ids
        unknown = [i for i in shown if i not in wanted]
        if unknown and self.strict:
            raise UserError(
                f"{labels.path or 'a label map'}: label ids {unknown} are not declared in {self.source}; declare "
                "them under its 'labels', or choose the organs to learn by data.organs"
            )
        if unknown:
            log.warning(
                "%s: label ids %s are neither declared in %s nor chosen by data.organs, they count as background",
                labels.path,
                unknown,
                self.source,
            )
        changed = {i: wanted.get(i, 0) for i in shown if wanted.get(i, 0) != i}
        if not changed:
            return labels
        data = labels.data.clone()
        for i, own in changed.items():
            data[labels.data == i] = own
        # Without the file's number type, which may be too small for other ids.
        return Volume(data, labels.grid, labels.native, labels.path)


@dataclass(frozen=True)
class DeclaredLabels:
    """The organs of a data set: one id for each name.

    Attributes:
        names: organ name of each id.
        ids: (id in the files, id of the data set) of each modality's organs; see ``Labelling``.
        source: where they are declared, for messages.
    """

    names: Mapping[int, str]
    ids: Mapping[str, tuple[tuple[int, int], ...]]
    source: str

    @classmethod
    def read(cls, path: Path, labels: Mapping[str, Any], modalities: Mapping[int, str], fixed: str) -> DeclaredLabels:
        """The value of ``labels`` in a description.

        It holds ids and names (Learn2Reg's ``{"1": "liver"}`` or nnU-Net's ``{"liver": 1}``), or such an object for
        each modality, whose ids may differ. An organ has the id of the fixed modality; one that other modalities alone
        have keeps its id where that is free. A modality without an object of its own has the labels of the first one.

        Args:
            path: of the description.
            labels: as the JSON file holds it.
            modalities: name of each number.
            fixed: name of the fixed modality.

        Raises:
            UserError: an entry cannot be understood, or a modality is unknown.
        """
        nested = any(isinstance(value, Mapping) for value in labels.values())
        own: dict[str, dict[int, str]] = {} if nested else {fixed: _names(path, labels)}
        for key, value in labels.items() if nested else ():
            modality = modalities.get(int(key), "") if str(key).isdecimal() else str(key)
            if modality not in modalities.values() or not isinstance(value, Mapping):
                raise UserError(f"{path}: labels[{key!r}] is not the labels of one of {list(modalities.values())}")
            own[modality] = _names(path, value)
        first = own[fixed] if fixed in own else next(iter(own.values()))
        ordered = {fixed: first} | {m: own.get(m, first) for m in modalities.values() if m != fixed}
        numbers: dict[str, int] = {}
        late: list[str] = []
        for declared in ordered.values():
            for i, name in declared.items():
                if name not in numbers and name not in late and name.casefold() not in (_BACKGROUND, _IGNORE):
                    if i in numbers.values():
                        late.append(name)
                    else:
                        numbers[name] = i
        highest = max((i for declared in ordered.values() for i in declared), default=0)
        numbers |= {name: highest + 1 + n for n, name in enumerate(late)}
        fates = {name: _fate(name, numbers) for declared in ordered.values() for name in declared.values()}
        ids = {m: tuple((i, fates[name]) for i, name in declared.items()) for m, declared in ordered.items()}
        return cls({i: name for name, i in numbers.items()}, ids, str(path))

    def of(self, modality: str, image: Path, labelled: Sequence[str] | None) -> Labelling | None:
        """How the label map of an image is read; None where nothing is declared at all.

        Args:
            modality: of the image.
            image: for messages.
            labelled: names of the organs that are labelled in it; None is all that its modality has.

        Raises:
            UserError: the modality has no such organ.
        """
        if not self.names:
            return None
        ids = self.ids[modality]
        known = list(dict.fromkeys(own for _, own in ids if own > 0))
        if labelled is not None:
            unknown = [name for name in labelled if name not in [self.names[i] for i in known]]
            if unknown:
                raise UserError(
                    f"{self.source}: 'labelled' of {image.name} names {unknown}, which 'labels' does not declare for "
                    f"{modality}"
                )
            known = [i for i in known if self.names[i] in labelled]
            ids = tuple((i, own if own in (*known, IGNORED) else 0) for i, own in ids)
        return Labelling(ids, tuple(known), f"{self.source} for {modality}")


def _names(path: Path, labels: Mapping[str, Any]) -> dict[int, str]:
    """Organ name of each id, whichever of the two is the key; id 0 is the background and left out."""
    names: dict[int, str] = {}
    for key, value in labels.items():
        if str(key).isdecimal() and isinstance(value, str):
            number, name = int(key), value.strip()
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            number, name = value, str(key).strip()
        else:
            raise UserError(f"{path}: labels has {key!r}: {value!r}, which is not an id and a name")
        if names.setdefault(number, name) != name:
            raise UserError(f"{path}: labels has the id {number} for {names[number]!r} and for {name!r}")
    names.pop(0, None)
    return names


def _fate(name: str, numbers: Mapping[str, int]) -> int:
    special = {_BACKGROUND: 0, _IGNORE: IGNORED}
    return numbers[name] if name in numbers else special[name.casefold()]

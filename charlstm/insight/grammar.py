"""Properties that follow from the little words of a language: whether the word before was an article, or a modal verb.

Which of these languages a text is in is told by how many of its words are among those below; a text of none of them
gets no such property.
"""

import itertools
import re
from collections import Counter

import numpy as np

from charlstm.insight.property_builder import PropertyBuilder

_WORD = re.compile(r"[^\W\d_]+")
_FEWEST_SHARE = 0.15  # of a text's words that must be among a language's
_SHOWN = 3  # words of a kind that stand for it
_ARTICLE, _MODAL, _AUXILIARY, _PRONOUN = "after-article", "after-modal", "after-auxiliary", "after-pronoun"

# Articles and what takes their place; verbs before another verb as it stands in a dictionary; forms of be and have;
# pronouns before a verb.
_LANGUAGES = {
    "English": {
        _ARTICLE: "the a an my thy your his her its our their this that these those no every",
        _MODAL: "will would shall should can could may might must cannot to do did doth let",
        _AUXILIARY: "is are was were be been am have has had hath art being",
        _PRONOUN: "i you he she we they thou ye who it",
    },
    "German": {
        _ARTICLE: "der die das den dem des ein eine einen einem einer eines mein meine meinen meiner dein deine seine "
        "seinen seiner ihre ihren ihrer unser unsere kein keine keinen diese dieser dieses diesen diesem",
        _MODAL: "kann können konnte konnten will wollen wollte wollten soll sollen sollte muss muß müssen musste "
        "mußte darf mag möchte würde würden wird werden zu",
        _AUXILIARY: "ist sind war waren bin bist hat haben hatte hatten habe hätte wäre wurde wurden",
        _PRONOUN: "ich du er sie es wir ihr man wer",
    },
    "French": {
        _ARTICLE: "le la les un une des du mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet "
        "cette ces au aux",
        _MODAL: "peut peuvent pouvait doit doivent devait veut veux voulait va vont faut fallait pour",
        _AUXILIARY: "est sont était étaient fut furent être suis a ont avait avaient ai eut avoir",
        _PRONOUN: "je tu il elle on nous vous ils elles qui",
    },
    "Spanish": {
        _ARTICLE: "el la los las un una unos unas mi mis tu tus su sus este esta estos estas ese esa aquel aquella "
        "del al",
        _MODAL: "puede pueden podía podían debe deben debía quiere quiero quería va van iba para",
        _AUXILIARY: "es son era eran fue ser está están estaba estaban ha han había habían he hubo",
        _PRONOUN: "yo tú él ella nosotros ellos ellas se que quien",
    },
    "Italian": {
        _ARTICLE: "il lo la i gli le un uno una del della dei delle al alla nel nella mio mia suo sua questo questa "
        "quel quella",
        _MODAL: "può possono poteva deve devono doveva vuole voglio voleva per",
        _AUXILIARY: "è sono era erano fu essere ha hanno aveva avevano ho",
        _PRONOUN: "io tu lui lei egli ella noi voi essi si che chi",
    },
    "Portuguese": {
        _ARTICLE: "o a os as um uma do da dos das no na nos nas meu minha seu sua seus suas este esta esse essa",
        _MODAL: "pode podem podia deve devem devia quer queria vai vão ia para",
        _AUXILIARY: "é são era eram foi ser está estão estava tem têm tinha tinham havia",
        _PRONOUN: "eu tu ele ela nós eles elas se que quem",
    },
    "Dutch": {
        _ARTICLE: "de het een mijn zijn haar ons onze deze dit die dat geen",
        _MODAL: "kan kunnen kon konden zal zullen zou zouden moet moeten moest wil willen wilde mag mocht te",
        _AUXILIARY: "is was waren ben heeft hebben had hadden werd worden",
        _PRONOUN: "ik jij hij zij ze wij we u men wie",
    },
    "Russian": {
        _ARTICLE: "этот эта это эти этого этой тот та те того той мой моя мои твой его её их наш свой своей своего",
        _MODAL: "может могут мог могла должен должна нужно можно нельзя хочет хотел буду будет надо",
        _PRONOUN: "я ты он она оно мы вы они кто",
    },
}


def add_grammar(found: PropertyBuilder) -> None:
    """Add which kind of little word comes before a word, in the languages known here."""
    t = found.layout
    words = [(match.start(), match.end(), match.group().lower()) for match in _WORD.finditer(t.text)]
    counts = Counter(word for _, _, word in words)
    written = Counter(match.group() for match in _WORD.finditer(t.text))
    kinds = {
        name: {kind: frozenset(listed.split()) for kind, listed in each.items()} for name, each in _LANGUAGES.items()
    }
    shares = {name: sum(counts[word] for word in frozenset().union(*each.values())) for name, each in kinds.items()}
    language = max(shares, key=lambda name: shares[name])
    if not words or shares[language] < _FEWEST_SHARE * len(words):
        return
    before = np.zeros(t.size, np.int8)
    names = list(kinds[language])
    of_word = {word: at + 1 for at, kind in enumerate(names) for word in kinds[language][kind]}
    for (_, end, word), (begin, last, _) in itertools.pairwise(words):
        if begin == end + 1 and t.text[end] in " \n":
            before[begin:last] = of_word.get(word, 0)
    for at, kind in enumerate(names):
        common = sorted(
            (word for word in kinds[language][kind] if counts[word]), key=lambda word: (-counts[word], word)
        )
        listed = ", ".join(max((word.title(), word), key=lambda form: written[form]) for word in common[:_SHOWN])
        sentence = f"whether the word before is one like {listed}"
        found.add(kind, f"after {listed}", sentence, before == at + 1, t.letters)

"""Properties that follow from the little words of a language: whether the word before was an article, or a modal verb.

Which of these languages a text is in is told by how many of its words are among those below; a text of none of them
gets no such property.
"""

import itertools
import re
from collections import Counter

import numpy as np

from charlstm.insight.property_matrix import PropertyBuilder

_WORD = re.compile(r"[^\W\d_]+")
_FEWEST_SHARE = 0.15  # of a text's words that must be among a language's
_SHOWN = 3  # words of a kind that stand for it
_ARTICLE, _MODAL, _AUXILIARY, _PRONOUN = "after-article", "after-modal", "after-auxiliary", "after-pronoun"
_OWNER, _PLACE, _NOT, _WHO = "after-possessive", "after-preposition", "after-negation", "after-question-word"

# Articles and what takes their place; verbs before another verb as it stands in a dictionary; forms of be and have;
# pronouns before a verb; whose; prepositions; what denies; what asks or refers back. A word may be of two kinds.
_LANGUAGES = {
    "English": {
        _ARTICLE: "the a an my thy your his her its our their this that these those no every",
        _MODAL: "will would shall should can could may might must cannot to do did doth let",
        _AUXILIARY: "is are was were be been am have has had hath art being",
        _PRONOUN: "i you he she we they thou ye who it",
        _OWNER: "my thy your his her its our their",
        _PLACE: "of in with for from by at on upon into over under through after before about against between",
        _NOT: "not no never nor neither",
        _WHO: "who which what where when why how whom whose",
    },
    "German": {
        _ARTICLE: "der die das den dem des ein eine einen einem einer eines mein meine meinen meiner dein deine seine "
        "seinen seiner ihre ihren ihrer unser unsere kein keine keinen diese dieser dieses diesen diesem",
        _MODAL: "kann können konnte konnten will wollen wollte wollten soll sollen sollte muss muß müssen musste "
        "mußte darf mag möchte würde würden wird werden zu",
        _AUXILIARY: "ist sind war waren bin bist hat haben hatte hatten habe hätte wäre wurde wurden",
        _PRONOUN: "ich du er sie es wir ihr man wer",
        _OWNER: "mein meine meinen meiner meinem dein deine sein seine seinen seiner ihr ihre ihren ihrer unser unsere",
        _PLACE: "in im mit von vom zum zur auf für an am bei aus nach über unter durch um gegen vor",
        _NOT: "nicht kein keine keinen nie niemals",
        _WHO: "wer was wo wann warum wie welche welcher welches wenn",
    },
    "French": {
        _ARTICLE: "le la les un une des du mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet "
        "cette ces au aux",
        _MODAL: "peut peuvent pouvait doit doivent devait veut veux voulait va vont faut fallait pour",
        _AUXILIARY: "est sont était étaient fut furent être suis a ont avait avaient ai eut avoir",
        _PRONOUN: "je tu il elle on nous vous ils elles qui",
        _OWNER: "mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs",
        _PLACE: "de du des dans en à au aux par sur avec sans sous entre vers chez",
        _NOT: "ne pas jamais ni non",
        _WHO: "qui que quoi dont où quand comment pourquoi quel quelle",
    },
    "Spanish": {
        _ARTICLE: "el la los las un una unos unas mi mis tu tus su sus este esta estos estas ese esa aquel aquella "
        "del al",
        _MODAL: "puede pueden podía podían debe deben debía quiere quiero quería va van iba para",
        _AUXILIARY: "es son era eran fue ser está están estaba estaban ha han había habían he hubo",
        _PRONOUN: "yo tú él ella nosotros ellos ellas se que quien",
        _OWNER: "mi mis tu tus su sus nuestro nuestra",
        _PLACE: "de en a con por sin sobre entre hasta desde",
        _NOT: "no nunca ni jamás",
        _WHO: "que quien qué cual donde cuando como",
    },
    "Italian": {
        _ARTICLE: "il lo la i gli le un uno una del della dei delle al alla nel nella mio mia suo sua questo questa "
        "quel quella",
        _MODAL: "può possono poteva deve devono doveva vuole voglio voleva per",
        _AUXILIARY: "è sono era erano fu essere ha hanno aveva avevano ho",
        _PRONOUN: "io tu lui lei egli ella noi voi essi si che chi",
        _OWNER: "mio mia miei tuo tua suo sua suoi nostro nostra loro",
        _PLACE: "di a da in con su tra fra del della nel nella dal dalla",
        _NOT: "non mai né",
        _WHO: "che chi cui dove quando come perché quale",
    },
    "Portuguese": {
        _ARTICLE: "o a os as um uma do da dos das no na nos nas meu minha seu sua seus suas este esta esse essa",
        _MODAL: "pode podem podia deve devem devia quer queria vai vão ia para",
        _AUXILIARY: "é são era eram foi ser está estão estava tem têm tinha tinham havia",
        _PRONOUN: "eu tu ele ela nós eles elas se que quem",
        _OWNER: "meu minha meus teu tua seu sua seus suas nosso nossa",
        _PLACE: "de em com por sem sobre entre até do da no na",
        _NOT: "não nunca nem",
        _WHO: "que quem qual onde quando como",
    },
    "Dutch": {
        _ARTICLE: "de het een mijn zijn haar ons onze deze dit die dat geen",
        _MODAL: "kan kunnen kon konden zal zullen zou zouden moet moeten moest wil willen wilde mag mocht te",
        _AUXILIARY: "is was waren ben heeft hebben had hadden werd worden",
        _PRONOUN: "ik jij hij zij ze wij we u men wie",
        _OWNER: "mijn jouw zijn haar ons onze uw hun",
        _PLACE: "in van met op aan voor uit naar over onder door bij om tegen",
        _NOT: "niet geen nooit",
        _WHO: "wie wat waar wanneer waarom hoe welke die dat",
    },
    "Russian": {
        _ARTICLE: "этот эта это эти этого этой тот та те того той мой моя мои твой его её их наш свой своей своего",
        _MODAL: "может могут мог могла должен должна нужно можно нельзя хочет хотел буду будет надо",
        _PRONOUN: "я ты он она оно мы вы они кто",
        _OWNER: "мой моя мои твой его её их наш свой своей своего",
        _PLACE: "в на с по из к у о от до за под при для без",
        _NOT: "не ни нет",
        _WHO: "кто что где когда как почему который которая которые",
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
    for kind, listed in kinds[language].items():
        before = np.zeros(t.size, bool)
        for (_, end, word), (begin, last, _) in itertools.pairwise(words):
            if word in listed and begin == end + 1 and t.text[end] in " \n":
                before[begin:last] = True
        common = sorted((word for word in listed if counts[word]), key=lambda word: (-counts[word], word))
        shown = ", ".join(max((word.title(), word), key=lambda form: written[form]) for word in common[:_SHOWN])
        found.add(kind, f"after {shown}", f"whether the word before is one like {shown}", before, t.letters)

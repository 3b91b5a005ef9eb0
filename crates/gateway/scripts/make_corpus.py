"""Writes the text on which the example `train` of this crate trains the tagger of names, places, addresses and organisations.

    python3 -m venv venv && venv/bin/pip install faker==40.63.0
    venv/bin/python crates/gateway/scripts/make_corpus.py NOVELS WORDS OUT

NOVELS is a folder with `calibration.jsonl` and `heldout-galsworthy.txt`. WORDS is a spelling list, Debian's
/usr/share/dict/american-english. OUT gets `train.jsonl`, `dev.jsonl` (other templates) and lists of words. A line is
`{"text": ..., "spans": [[start, end, tag], ...]}` in characters; the tag `?` marks text whose tag is unknown. Names, cities,
streets and companies are drawn from `faker` (MIT); the templates (templates.txt) and lists (lists.json) were written for this
purpose; the prose is from public-domain novels; the spelling list is SCOWL (see data/NOTICE). Deterministic.
"""
import json
import pathlib
import random
import re
import sys
import unicodedata

from faker import Faker

HERE = pathlib.Path(__file__).parent
LISTS = json.loads((HERE / "lists.json").read_text())
LOCALES = {
    "en_US": 26, "en_GB": 10, "en_AU": 4, "en_CA": 3, "en_IN": 3, "en_IE": 1, "en_NZ": 1, "en_PH": 1, "de_DE": 4, "de_AT": 2,
    "de_CH": 2, "fr_FR": 4, "fr_CA": 1, "fr_CH": 1, "fr_BE": 1, "es_ES": 4, "es_MX": 2, "es_CO": 1, "it_IT": 4, "nl_NL": 3, "nl_BE": 2,
    "pt_PT": 2, "pt_BR": 3, "da_DK": 3, "sv_SE": 3, "no_NO": 3, "fi_FI": 3, "pl_PL": 3, "cs_CZ": 3, "hu_HU": 3, "ro_RO": 1, "hr_HR": 3,
    "sl_SI": 3, "sk_SK": 2, "et_EE": 1, "lt_LT": 1, "lv_LV": 1, "tr_TR": 2, "vi_VN": 2, "id_ID": 2, "zu_ZA": 1, "ga_IE": 1, "is_IS": 2,
    "ru_RU": 4, "ja_JP": 3, "zh_CN": 3, "bg_BG": 1, "uk_UA": 1, "el_GR": 1, "sq_AL": 1, "az_AZ": 1, "uz_UZ": 1, "ha_NG": 1, "ig_NG": 1,
    "yo_NG": 1, "sw": 1, "tw_GH": 1,
}
CYRILLIC = dict(zip("абвгдезийклмнопрстуфыэіїєґ", "a b v g d e z i y k l m n o p r s t u f y e i yi ye g".split()))
CYRILLIC |= {"ё": "yo", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu", "я": "ya"}
GREEK = dict(zip("αβγδεζηικλμνοπρσςτυφωάέήίόύώϊϋ", "a v g d e z i i k l m n o p r s s t y f o a e i i o y o i y".split()))
GREEK |= {"θ": "th", "ξ": "x", "χ": "ch", "ψ": "ps"}
EXTRA = CYRILLIC | GREEK


def latin(text):
    """Transliterates Cyrillic and Greek letters; returns None for other scripts."""
    out = ""
    for c in text:
        if c.lower() in EXTRA:
            t = EXTRA[c.lower()]
            c = t.capitalize() if c.isupper() else t
        out += c
    return out if all(ord(c) < 0x250 or 0x1E00 <= ord(c) < 0x1F00 or not c.isalpha() for c in out) else None


def pools(seed):
    """Draws names, cities, streets and companies of every locale."""
    out = {}
    for locale in LOCALES:
        fake = Faker(locale)
        fake.seed_instance(seed)

        def listed(*prefixes):
            found = set()
            for provider in fake.get_providers():
                for name in dir(provider) if "person" in type(provider).__module__ else ():
                    if name.startswith(prefixes) and isinstance(values := getattr(provider, name), (list, tuple, dict)):
                        found |= {latin(v) for v in values if isinstance(v, str) and 1 < len(v) < 30}
            return sorted(found - {None})

        def draw(*names, n=400):
            found = set()
            for name in names:
                method = getattr(fake, name, None)
                for _ in range(n if method else 0):
                    try:
                        value = latin(str(method()).strip())
                    except Exception:
                        break
                    if value and "\n" not in value and len(value) < 60:
                        found.add(value)
            return sorted(found)

        if locale in ("ja_JP", "zh_CN"):
            full = sorted({fake.romanized_name() for _ in range(800)})
            first, last = sorted({f.split()[0] for f in full}), sorted({f.split()[-1] for f in full})
            city, street, company = [], [], []
        else:
            first = listed("first_names") or draw("first_name", n=1500)
            last = listed("last_names") or draw("last_name", n=1500)
            city, street = draw("city", n=500), draw("street_name", n=300)
            company = draw("company", n=250)
        if locale == "en_US":
            city = city[:80]
        state, country = draw("state", "province", "region", "prefecture", "county", n=60), draw("country", n=200)
        zips = draw("postcode", "zipcode", n=60)
        out[locale] = {"first": first, "last": last, "city": city, "street": street, "company": company, "state": state,
                       "country": country, "zip": zips, "english": locale.startswith("en")}
        fallback = out["en_US"]
        for key, value in out[locale].items():
            if key != "english" and not value:
                out[locale][key] = fallback[key]
    return out


# How a line break is written: as it is, indented, quoted.
BREAKS = ["\n"] * 6 + ["\n "] * 2 + ["\n    ", "\n> ", "\n>", "\n\n", "\r\n", ", "]


class Maker:
    """Fills templates."""

    def __init__(self, pools, words, rng, held_out):
        self.pools, self.words, self.rng, self.held_out = pools, words, rng, held_out
        self.english = Faker("en_US")
        self.english.seed_instance(rng.random())
        self.locale = "en_US"

    def pick(self, values, hold=True):
        """Draws a value. The development text uses one in six of the values."""
        for _ in range(20):
            value = self.rng.choice(values)
            if not hold or not self.held_out or sum(map(ord, value)) % 6 == 0:
                break
        return value

    def chance(self, p):
        return self.rng.random() < p

    def local(self, key):
        return self.pick(self.pools[self.locale][key])

    def digits(self, pattern):
        return re.sub("[#%]", lambda m: str(self.rng.randint(m[0] == "%", 9)), pattern)

    def initial(self):
        return self.rng.choice("ABCDEFGHIJKLMNOPRSTVW")

    # Entities: each returns text.

    def first(self):
        return self.local("first")

    def last(self):
        name = self.local("last")
        return f"{name}-{self.local('last')}" if self.chance(0.03) else name

    def per(self):
        first, last = self.first(), self.last()
        kind = self.rng.random()
        if kind < 0.70:
            name = f"{first} {last}"
        elif kind < 0.80:
            name = f"{first} {self.initial()}{'.' if self.chance(0.6) else ''} {last}"
        elif kind < 0.86:
            name = f"{first} {self.first()} {last}"
        elif kind < 0.90:
            name = f"{first} {last} {self.local('last')}"
        elif kind < 0.93:
            name = f"{self.initial()}. {last}"
        elif kind < 0.96:
            name = f"{last}, {first}"
        else:
            name = f"{first} {self.rng.choice(['van', 'de', 'von', 'di', 'da', 'al', 'bin', 'van der', 'de la'])} {last}"
        return self.case(name, 0.03, 0.03)

    def any(self):
        kind = self.rng.random()
        return self.per() if kind < 0.5 else self.case(self.first(), 0.02, 0.04) if kind < 0.8 else self.last()

    def case(self, text, upper, lower):
        kind = self.rng.random()
        return text.upper() if kind < upper else text.lower() if kind < upper + lower else text

    def city(self):
        city = self.pick(LISTS["cities"]) if self.chance(0.35) else self.local("city")
        return self.case(city, 0.13, 0.02)

    def country(self):
        if self.chance(0.75):
            return self.case(self.pick(LISTS["countries"], False), 0.05, 0.04)
        return self.local("country")

    def state(self):
        kind = self.rng.random()
        if kind < 0.35:
            return self.rng.choice(LISTS["state_codes"])
        return self.pick(LISTS["states"], False) if kind < 0.7 else self.local("state")

    def gpe(self):
        kind = self.rng.random()
        return self.city() if kind < 0.55 else self.country() if kind < 0.85 else self.pick(LISTS["states"], False)

    def brand(self):
        syllables = "ba be bri ca co cor da del dy e el fa fen fi flo gen glo go hal in ix jo ka ker la len lo lu ma mer mo na ne nex no " \
            "nu o or pa pix plex po qua ra re ro sa sen sig so sta sy ta tel ti tra tri u va vel ver vi vo wex xa xo ya za zen zi zo".split()
        name = "".join(self.rng.choice(syllables) for _ in range(self.rng.randint(2, 3)))
        name = name.capitalize()
        if self.chance(0.1):
            name += self.rng.choice(["ly", "ify", "Tech", "Soft", "Net", "Pay", "Hub", "Bank", "Med", "Works", "Lab", "Point"])
        return name

    def word(self):
        return self.pick(self.words, False).capitalize()

    def org(self):
        kind, r = self.rng.random(), self.rng.choice
        if kind < 0.26:
            name = self.local("company")
        elif kind < 0.36:
            name = f"{self.last()}{r([' and ', ' & ', ', '])}{self.last()}" + (f" and {self.last()}" if self.chance(0.3) else "")
        elif kind < 0.46:
            name = f"{self.word()} {r(LISTS['org_words'])}"
        elif kind < 0.54:
            name = f"{self.word()} {self.word()} {r(LISTS['org_words'])}"
        elif kind < 0.62:
            name = f"{self.brand()} {r(LISTS['org_words'] + LISTS['org_suffixes'])}"
        elif kind < 0.67:
            name = self.brand()
        elif kind < 0.72:
            name = (self.pick(self.words, False) + self.pick(self.words, False)).capitalize()
        elif kind < 0.77:
            name = f"{self.last()} {r(LISTS['org_words'])}"
        elif kind < 0.82:
            name = r([f"University of {self.city()}", f"{self.city()} University", f"Bank of {self.city()}", f"{self.city()} {r(LISTS['org_words'])}",
                      f"Ministry of {self.word()}", f"{self.word()} Institute", f"St. {self.first()}'s Hospital", f"{self.city()} City Council",
                      f"{self.last()} High School", f"Department of {self.word()}"])
        elif kind < 0.86:
            name = f"{self.word()}{r(['', ' '])}{self.word()}" + (f" {r(LISTS['org_suffixes'])}" if self.chance(0.4) else "")
        elif kind < 0.90:
            name = f"{self.local('company')}"
        elif kind < 0.95:
            name = "".join(self.initial() for _ in range(self.rng.randint(3, 4)))
        else:
            name = self.pick(LISTS["companies"], False)
        return self.case(name, 0.03, 0.02)

    def zip(self):
        return self.digits("%####") if self.chance(0.4) else self.local("zip")

    def number(self):
        return self.digits(self.rng.choice(["%", "%#", "%#", "%##", "%##", "%###", "%####"])) + (self.rng.choice("abcAB") if self.chance(0.08) else "")

    def unit(self):
        return self.rng.choice(["Apt. ", "Apt ", "Suite ", "Unit ", "Flat ", "Apartment ", "Room ", "Floor ", "#", "Ste. ", "No. "]) + self.digits(
            self.rng.choice(["%", "%#", "%##"]))

    def street(self):
        if self.chance(0.35):
            base = self.last() if self.chance(0.5) else self.word() if self.chance(0.7) else self.first()
            name = f"{base} {self.rng.choice(LISTS['street_words'])}"
            if self.chance(0.1):
                name = f"{self.rng.choice(['North', 'South', 'E', 'W', 'East', 'NW', 'Old', 'N.'])} {name}"
        elif self.chance(0.3):
            name = f"{self.rng.choice(LISTS['street_prefixes'])} {self.last() if self.chance(0.6) else self.city()}"
        else:
            name = self.local("street")
        number = self.number()
        order = 0.7 if self.pools[self.locale]["english"] else 0.25
        return f"{number}{self.rng.choice([' ', ' ', ', '])}{name}" if self.chance(order) else f"{name}{self.rng.choice([' ', ' ', ', '])}{number}"

    def g(self, place):
        """Marks a place inside of an address, which is an entity of its own."""
        return f"\x02g{place}\x03"

    def addr(self):
        kind = self.rng.random()
        if kind < 0.06:
            return self.digits(f"{self.rng.choice(['P.O. Box', 'PO Box', 'Box', 'Postfach'])} %###")
        if kind < 0.09:
            unit = self.rng.choice(["PSC ####, Box ####", "Unit #### Box ####", "USS " + self.last(), "USNS " + self.last(), "USCGC " + self.last(), "CMR ### Box ###"])
            return self.digits(f"{unit}{self.rng.choice([', ', chr(10)])}{self.rng.choice(['APO', 'FPO', 'DPO'])} {self.rng.choice(['AA', 'AE', 'AP'])} #####")
        text = self.street()
        if self.chance(0.3):
            text += self.rng.choice([" ", ", ", "\n", "\n "]) + self.unit()
        if kind < 0.40:
            return text
        gap = self.rng.choice([", ", ", ", " ", "\n", "\n", "\n "])
        parts = {
            0: f"{self.g(self.city())}{gap}{self.g(self.state())} {self.zip()}", 1: f"{self.zip()} {self.g(self.city())}", 2: f"{self.g(self.city())}{gap}{self.zip()}",
            3: f"{self.g(self.city())}, {self.g(self.state())} {self.zip()}", 4: self.g(self.city()), 5: f"{self.g(self.city())}{gap}{self.g(self.country())} {self.zip()}",
            6: f"{self.g(self.city())}\n, {self.g(self.state())}", 7: f"{self.g(self.city())}, {self.g(self.state())}",
        }
        text += gap + parts[self.rng.randrange(8)]
        if self.chance(0.3):
            text += gap + self.g(self.country()) + (f" {self.zip()}" if self.chance(0.4) else "")
        return text

    # Other words and numbers.

    def title(self):
        return self.rng.choice(LISTS["titles"])

    def job(self):
        job = self.english.job() if self.chance(0.5) else self.rng.choice(LISTS["jobs"])
        return self.case(job.split(",")[0], 0, 0.5)

    def thing(self):
        return self.rng.choice(LISTS["things"])

    def caps(self):
        return self.rng.choice(LISTS["capitalised"])

    def nrp(self):
        return self.case(self.rng.choice(LISTS["nationalities"]), 0, 0.2)

    def date(self):
        return self.english.date(self.rng.choice(["%Y-%m-%d", "%d/%m/%Y", "%B %d, %Y", "%d %B %Y", "%b %d", "%m/%d/%y", "%A", "%Y", "%B %Y", "%d.%m.%Y"]))

    def time(self):
        return self.english.time(self.rng.choice(["%H:%M", "%I:%M %p", "%H:%M:%S"]))

    def phone(self):
        return self.digits(self.rng.choice(["+%% ### ### ####", "(%##) ###-####", "0%## ### ## ##", "%##-###-####", "0##### ######", "### ####"]))

    def email(self):
        user = latin(unicodedata.normalize("NFKD", self.first()).encode("ascii", "ignore").decode()) or "info"
        return f"{user.replace(' ', '')}{self.digits('##')}@{self.brand().lower()}.{self.rng.choice(['com', 'org', 'net', 'de', 'co.uk'])}"

    def url(self):
        return self.rng.choice(["https://www.", "http://", "www."]) + self.word() + self.word() + self.rng.choice([".com", ".net/", ".de", ".se/", ".co.uk"])

    def card(self):
        return self.digits(self.rng.choice(["4###############", "5### #### #### ####", "3##############"]))

    def iban(self):
        return self.digits("GB##NWBK##############")

    def id(self):
        return self.digits(self.rng.choice(["%########", "AB######", "###-##-####", "%#####", "INV-####", "#%##%#", "CASE%###"]))

    def ip(self):
        return ".".join(str(self.rng.randint(1, 255)) for _ in range(4))

    def num(self):
        return self.digits(self.rng.choice(["%", "%#", "%##", "%,###", "%.##", "%###"]))

    def age(self):
        return str(self.rng.randint(1, 99))

    def money(self):
        return self.rng.choice(["$", "€", "£", "USD ", "CHF "]) + self.digits(self.rng.choice(["%#", "%##", "%,###.##", "%.##"]))

    def weekday(self):
        return self.rng.choice(["Monday", "Tuesday", "Friday", "week", "month", "Sunday", "year"])

    def acronym(self):
        return "".join(self.rng.choice("ABCDEFGHILMNOPRSTUVX") for _ in range(self.rng.randint(2, 4)))

    def cardtype(self):
        return self.rng.choice(["Visa", "MasterCard", "Mastercard", "Maestro", "American Express", "Amex", "JCB", "Discover", "Diners Club", "debit", "credit"])

    def lang(self):
        return self.rng.choice(LISTS["languages"])


TAGS = {"first": "PERSON", "last": "PERSON", "per": "PERSON", "any": "PERSON", "city": "GPE", "country": "GPE", "state": "GPE", "gpe": "GPE",
        "org": "ORGANIZATION", "addr": "ADDRESS", "street": "ADDRESS", "unit": "ADDRESS", "zip": "ADDRESS"}
SLOT = re.compile(r"\{(\w+?)\d?\}")
CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")


def fill(maker, template):
    while CHOICE.search(template):
        template = CHOICE.sub(lambda m: maker.rng.choice(m[1].split("|")), template, count=1)
    template = template.replace("\\n", "\n").replace("\\{", "\0").replace("\\}", "\1")
    maker.locale = maker.rng.choices(list(LOCALES), LOCALES.values())[0]
    text, spans, at = "", [], 0
    line = maker.rng.choice(BREAKS)
    template = template.replace("\n", line)
    for slot in SLOT.finditer(template):
        text += template[at:slot.start()]
        at = slot.end()
        value = getattr(maker, slot[1])().replace("\n", line)
        if slot[1] == "addr":
            for m in re.finditer(r"\x02(\w)([^\x03]*)\x03|([^\x02]+)", value):
                tag, piece = m[1], m[2] if m[1] else m[3]
                if tag or re.search(r"\w", piece):
                    spans.append([len(text), len(text) + len(piece), "GPE" if tag else "ADDRESS"])
                text += piece
            continue
        if slot[1] in TAGS:
            spans.append([len(text), len(text) + len(value), TAGS[slot[1]]])
        text += value
    text = (text + template[at:]).replace("\0", "{").replace("\1", "}")
    kind = maker.rng.random()
    if kind < 0.035:
        lower = text.lower()
        text = lower if len(lower) == len(text) else text
    elif kind < 0.07:
        upper = text.upper()
        text = upper if len(upper) == len(text) else text
    elif kind < 0.12:
        bare = text.rstrip(".!")
        text = bare if all(end <= len(bare) for _, end, _ in spans) else text
    return {"text": text, "spans": spans}


def novels(paths, maker, words, most):
    """Yields paragraphs of prose. Known names and places are replaced by others; other capitalised words are unknown."""
    paragraphs = [p for path in paths for p in re.split(r"\n\s*\n", path) if 80 < len(p) < 1500]
    maker.rng.shuffle(paragraphs)
    common, total = set(words), 0
    english = [maker.pools[locale] for locale in ("en_US", "en_GB")]
    people = {n for pool in english for key in ("first", "last") for n in pool[key]} - {w.capitalize() for w in words}
    places = set(LISTS["cities"]) | set(LISTS["countries"]) | set(LISTS["states"])
    word = re.compile(r"[^\W\d_]+(?:['’-](?!s\b)[^\W\d_]+)*")
    for paragraph in paragraphs:
        total += len(paragraph)
        if total > most:
            return
        paragraph = re.sub(r"\s*\n\s*", " ", paragraph)
        text, spans, at, person = "", [], 0, False
        renamed = {}
        for match in word.finditer(paragraph):
            value, before = match[0], paragraph[:match.start()]
            if not value[0].isupper() or value.lower() in common or value in ("I", "O", "Oh", "Ah"):
                continue
            titled = re.search(r"(?:Mr|Mrs|Miss|Dr|Lady|Sir|Aunt|Uncle)\.? $", before) is not None
            follows = bool(spans) and person and re.fullmatch(r" ", paragraph[at:match.start()]) is not None
            known = value in people or titled or follows
            text += paragraph[at:match.start()]
            at = match.end()
            tag, new = "?", value
            if known:
                tag = "PERSON"
                maker.locale = maker.rng.choices(list(LOCALES), LOCALES.values())[0]
                new = renamed.setdefault(value, maker.last() if titled or follows else maker.first())
            elif value in places:
                tag, new = "GPE", renamed.setdefault(value, maker.gpe())
            person = tag == "PERSON"
            spans.append([len(text), len(text) + len(new), tag])
            text += new
        yield {"text": text + paragraph[at:], "spans": spans}


def main():
    source, spelling, out = map(pathlib.Path, sys.argv[1:4])
    rng = random.Random(1)
    pieces = [json.loads(line)["text"] for line in open(source / "calibration.jsonl")]
    prose = [p for p in pieces if len(p) > 4000]
    galsworthy = (source / "heldout-galsworthy.txt").read_text()
    count = {}
    for text in prose + [galsworthy]:
        for word in re.findall(r"\b[a-z]{2,}\b", text):
            count[word] = count.get(word, 0) + 1
    words = sorted((w for w, n in count.items() if n >= 2), key=lambda w: (-count[w], w))[:16000]
    out.mkdir(parents=True, exist_ok=True)
    common = {w for w in spelling.read_text().split() if re.fullmatch("[a-z]{2,}", w)} | {"a"} | {w for w in words if count[w] > 4}
    (out / "words.txt").write_text("\n".join(sorted(common)) + "\n")
    lines = (HERE / "templates.txt").read_text().splitlines()
    templates = [line for line in lines if line and not line.startswith("#")]
    names = pools(1)
    sets = {"first": ("first",), "last": ("last",), "places": ("city", "country", "state")}
    for name, keys in sets.items():
        values = {v for pool in names.values() for key in keys for v in pool[key]}
        values |= {v for key in ("cities", "countries", "states") for v in LISTS[key]} if name == "places" else set()
        parts = {w.lower() for v in values for w in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", v) if len(w) > 2 or name != "places"}
        (out / f"{name}.txt").write_text("\n".join(sorted(parts)) + "\n")
    for name, chosen, size, texts, most in (
        ("train", lambda i: i % 9 != 4, int(sys.argv[4]) if len(sys.argv) > 4 else 140000, prose, 1_500_000),
        ("dev", lambda i: i % 9 == 4, 3000, [galsworthy], 60_000),
    ):
        maker = Maker(names, words[300:6000], rng, name == "dev")
        own = [t for i, t in enumerate(templates) if chosen(i)]
        rows = [fill(maker, own[i % len(own)]) for i in range(size)]
        if name == "train":
            single = [row for row in rows if len(row["text"]) < 200]
            for _ in range(size // 12):
                picked = rng.sample(single, rng.randint(2, 5))
                gap, text, spans = rng.choice([" ", " ", "\n", "\n\n"]), "", []
                for row in picked:
                    spans += [[a + len(text), b + len(text), tag] for a, b, tag in row["spans"]]
                    text += row["text"] + gap
                rows.append({"text": text, "spans": spans})
        rows += novels(texts, maker, common, most)
        rng.shuffle(rows)
        with open(out / f"{name}.jsonl", "w") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


main()

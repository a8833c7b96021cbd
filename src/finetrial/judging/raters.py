"""Keep who grades: names, personal links, browsers and kinds (person or stand-in).

Every rater has a link of their own, whose key follows from the database's secret and the name, so that it can be
printed again. The first browser that begins with a link keeps it: a link that is passed on continues nothing, until
the owner lets one more browser in. Whether a rater is a person or a stand-in is declared before the first grade.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import typing
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime

from finetrial.errors import AnswerIsNo, UserError, unknown_name
from finetrial.judging.database import Database
from finetrial.store.grade_records import MODEL, RaterKind

NAME_LENGTH = 60
KINDS: tuple[RaterKind, ...] = typing.get_args(RaterKind)
DECLARED = tuple(kind for kind in KINDS if kind != MODEL)  # what a browser may say of whoever sits before it
KEY_LENGTH = 22  # base64 characters: 132 bits


class NameTaken(AnswerIsNo):
    """Somebody grades under that name already, and not from this browser."""


class OtherBrowser(AnswerIsNo):
    """The link was begun in another browser."""


@dataclass(frozen=True, slots=True)
class Rater:
    """A rater and the number by which prompts are dealt, from 0."""

    name: str
    slot: int


def now() -> str:
    """The time as records keep it. Order never depends on it: clocks jump."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def clean_name(name: str) -> str:
    """A rater's name as it is kept. Raises UserError for an empty, overlong or unprintable one."""
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned or len(cleaned) > NAME_LENGTH or not cleaned.isprintable():
        raise UserError(
            "a rater needs a name", got=repr(name[:80]), expected=f"1 to {NAME_LENGTH} printable characters"
        )
    return cleaned


def checked_kind(kind: object) -> RaterKind:
    """A declared kind of rater. Raises UserError for anything else."""
    if kind not in DECLARED:
        raise UserError("a rater is a person or a stand-in", got=repr(kind)[:80], expected=" or ".join(DECLARED))
    return kind


def _digest(browser: str) -> str:
    """What the database keeps of a browser: enough to know it again, not enough to pose as it."""
    return hashlib.sha256(browser.encode()).hexdigest()


class RaterBook(Database):
    """The raters of one trial."""

    def token(self) -> str:
        """The secret of the shared address, made once, so that an open page survives a restart."""
        with self.transaction() as connection:
            row = connection.execute("SELECT token FROM address").fetchone()
            if row is None:
                row = (secrets.token_urlsafe(18),)
                connection.execute("INSERT INTO address VALUES (?)", row)
        return str(row[0])

    def _secret(self) -> bytes:
        with self.transaction() as connection:
            row = connection.execute("SELECT secret FROM secret").fetchone()
            if row is None:
                row = (secrets.token_urlsafe(32),)
                connection.execute("INSERT INTO secret VALUES (?)", row)
        return str(row[0]).encode()

    def key_for(self, purpose: str, name: str = "") -> str:
        """The unguessable part of an address: `rater` and a name, or `owner`."""
        mac = hmac.new(self._secret(), f"{purpose}\0{name}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).decode()[:KEY_LENGTH]

    def raters(self) -> tuple[Rater, ...]:
        """Everybody who has joined, in the order of joining; model judges, dealt nothing, are not among them."""
        rows = self.connection.execute(
            "SELECT name FROM raters WHERE origin <> ? ORDER BY slot", (MODEL,)
        ).fetchall()
        return tuple(Rater(row[0], slot) for slot, row in enumerate(rows))

    def find_rater(self, name: str) -> Rater | None:
        """The rater of that exact name, or None."""
        return next((rater for rater in self.raters() if rater.name == name), None)

    def join(self, name: str, *, origin: str = "page") -> Rater:
        """The rater of that name, new or known; upper and lower case are one.

        A name from another origin (a bundle that somebody else was given) that is taken becomes `name (2)`.
        """
        stated = clean_name(name)
        with self.transaction() as connection:
            row = connection.execute(
                "SELECT name FROM raters WHERE origin = ? AND stated = ?", (origin, stated.casefold())
            ).fetchone()
            if row is None:
                taken = {r[0] for r in connection.execute("SELECT folded FROM raters")}
                chosen, number = stated, 2
                while chosen.casefold() in taken:
                    chosen, number = f"{stated} ({number})", number + 1
                connection.execute(
                    "INSERT INTO raters (name, folded, origin, stated, at) VALUES (?, ?, ?, ?, ?)",
                    (chosen, chosen.casefold(), origin, stated.casefold(), now()),
                )
                row = (chosen,)
        if origin == MODEL:
            return Rater(row[0], 0)
        found = self.find_rater(row[0])
        assert found is not None
        return found

    def enter(self, name: str, *, browser: str) -> Rater:
        """A new rater who came by the shared address, begun in this browser; from the same browser the known one.

        Raises NameTaken for a name that belongs to somebody else: only the rater's own link goes on with it.
        """
        stated = clean_name(name)
        row = self.connection.execute("SELECT name FROM raters WHERE folded = ?", (stated.casefold(),)).fetchone()
        if row is not None and not self.is_theirs(row[0], browser=browser):
            raise NameTaken(
                f"{row[0]} grades already",
                fix="If that is you, open your own link where you began; whoever runs the command "
                f"prints it with --rater '{row[0]}'. If not, give another name.",
            )
        rater = self.join(row[0] if row is not None else stated)
        self.admit(rater.name, browser=browser)
        return rater

    def begun_in(self, browser: str | None) -> tuple[Rater, ...]:
        """The raters who began in this browser."""
        if browser is None:
            return ()
        rows = self.connection.execute(
            "SELECT rater FROM browsers WHERE browser = ?", (_digest(browser),)
        ).fetchall()
        names = {row[0] for row in rows}
        return tuple(rater for rater in self.raters() if rater.name in names)

    def is_theirs(self, name: str, *, browser: str | None) -> bool:
        """True where this rater has begun in this browser."""
        return any(rater.name == name for rater in self.begun_in(browser))

    def is_begun(self, name: str) -> bool:
        """True where the rater's link is taken and no new browser is waited for."""
        begun, let_in = self.connection.execute(
            "SELECT count(DISTINCT browser), count(*) - count(browser) FROM browsers WHERE rater = ?", (name,)
        ).fetchone()
        return int(begun) > int(let_in)

    def admit(self, name: str, *, browser: str) -> None:
        """Begin with a rater's link in this browser, or go on in it. Raises OtherBrowser where it is not theirs."""
        if self.is_theirs(name, browser=browser):
            return
        with self.transaction() as connection:
            if self.is_begun(name):
                raise OtherBrowser(
                    f"this is {name}'s own link, and {name} began in another browser",
                    fix="Go on there. Whoever runs the command can let one more browser in: "
                    f"`finetrial grade ... --new-browser '{name}'`.",
                )
            connection.execute(
                "INSERT INTO browsers (rater, browser, at) VALUES (?, ?, ?)", (name, _digest(browser), now())
            )

    def let_in(self, name: str) -> Rater:
        """Let one more browser begin with a rater's link. Raises UserError for an unknown name."""
        stated = clean_name(name)
        found = next((r for r in self.raters() if r.name.casefold() == stated.casefold()), None)
        if found is None:
            raise unknown_name("rater", name, [rater.name for rater in self.raters()])
        if self.is_begun(found.name):  # else the next browser is let in anyway
            with self.transaction() as connection:
                connection.execute(
                    "INSERT INTO browsers (rater, browser, at) VALUES (?, NULL, ?)", (found.name, now())
                )
        return found

    def declare(self, name: str, kind: RaterKind) -> None:
        """Note what a rater is. The latest declaration counts for the events after it."""
        if self.kind_of(name) != kind:
            with self.transaction() as connection:
                connection.execute(
                    "INSERT INTO declarations (rater, kind, at) VALUES (?, ?, ?)", (name, kind, now())
                )

    def kind_of(self, name: str) -> RaterKind | None:
        """What a rater was declared to be; None: not yet, or in a database that is older than the question."""
        row = self.connection.execute(
            "SELECT kind FROM declarations WHERE rater = ? ORDER BY seq DESC LIMIT 1", (name,)
        ).fetchone()
        return None if row is None else row[0]

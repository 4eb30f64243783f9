"""What a support desk sees on a lively morning: rows as they live, with names and words that people use."""

import random
from datetime import datetime, timedelta
from itertools import cycle

from openbsp_testkit.rows import Conversation, Message, Organization, Webhook

NAMES = (
    *("Ana Gómez", "Mateo Rivas", "Sofía Castro", "Lucía Hernández", "Noah Weber", "Emma Lindqvist", "Diego Fuentes"),
    *("Valentina Ortiz", "Omar Haddad", "ليلى منصور", "Chen Wei", "Aiko Tanaka", "Priya Nair", "João Almeida"),
    *("Beatriz Souza", "Camila Rojas", "Tomás Vega", "Paula Méndez", "Ivan Petrov", "Zoë Martin", "Kofi Mensah"),
    *("Fatima Zahra", "Lars Nielsen", "Giulia Ricci", "Nina Kowalska", "Hugo Laurent", "Amara Okafor", "Elif Aydin"),
    *("Samuel Ortega", "Marta Ruiz", "דניאל לוי", "Renata Lima", "Julián Paredes"),
)

#: What is said in turn, by the contact first.
TALKS = (
    (
        "Hi! Is the blue one still available in size 38?",
        "It is! Shall I put one aside for you?",
        "Yes please. I'll come by at six",
    ),
    (
        "Hola, mi pedido todavía no llegó",
        "Lo siento mucho. ¿Me das el número de pedido, por favor?",
        "Es el 48213",
        "Gracias. Sale hoy por la tarde y te llega mañana antes de las 12.",
    ),
    (
        "Can I move my appointment to Thursday?",
        "Of course. 10:30 or 16:00?",
        "16:00 works, thanks!",
        "Done: Thursday, 16:00. See you then.",
    ),
    ("Do you ship to Portugal?", "We do: 3 to 5 days, and free above €60.", "Perfect"),
    (
        "The invoice shows the wrong company name",
        "Thanks for telling us. What should it say?",
        "Weber & Söhne GmbH, the VAT number is right",
    ),
    ("¿Aceptan pagos con tarjeta?", "Sí, con todas, y también por transferencia."),
    (
        "My code does not work: it says “expired”",
        "Try again in a minute, I have just sent you a new one.",
        "Works now. You are quick!",
    ),
    (
        "Bom dia! A mesa para quatro às oito está confirmada?",
        "Bom dia! Está sim, na varanda.",
        "Maravilha, obrigada!",
    ),
    ("Is there parking nearby?", "There is a garage on Calle 12, two minutes away. The first hour is on us."),
    ("I would like to cancel one item of my order", "Sure, which one?", "The lamp. The rest is fine"),
    ("مرحبا، متى تفتحون غدًا؟", "مرحبا! نفتح الساعة التاسعة صباحًا."),
    ("Do you have it in green?", "Not today, on Friday again. Shall I write to you then?", "Yes!"),
)
#: The one that is looked at.
GUEST = "Sofía Castro"
GUESTS_TALK = (
    ("incoming", "Hi! I have a table for two tonight at eight. Can we be four?"),
    ("outgoing", "Hi Sofía! Let me look."),
    ("internal", "Table 12 is free from eight on"),
    ("outgoing", "Yes: table 12, by the window. Four people at 20:00, is that right?"),
    ("incoming", "Perfect, thank you! One of us eats no gluten."),
    ("outgoing", "Noted. The kitchen has three dishes without, I send you the card."),
    ("image", "Tonight's card"),
    ("incoming", "Oh, the risotto sounds wonderful"),
    ("incoming", "Is there parking nearby?"),
    ("outgoing", "There is a garage in Calle 12, two minutes away. The first two hours are on us."),
    ("incoming", "You think of everything. See you at eight!"),
    ("outgoing", "See you tonight, Sofía."),
)

SERVICES = ("whatsapp", "whatsapp", "whatsapp", "instagram")
ERROR = {"code": 131026, "title": "Message undeliverable"}

Event = tuple[datetime, Webhook]


class Desk:
    """An organization's events, each with the time at which it happens, from `start` to `end`."""

    def __init__(self, start: datetime, end: datetime, *, seed: int = 5) -> None:
        self._random = random.Random(seed)
        self._organization = Organization(seed=seed, start=start)
        self._events: list[Event] = []
        for name in NAMES:
            if name != GUEST:
                self._talks(name, start + (end - start) * self._random.random() * 0.8, end)
        at = end - timedelta(seconds=40 * len(GUESTS_TALK))
        self.guest = self._begin(GUEST, at)
        for kind, text in GUESTS_TALK:
            at += timedelta(seconds=self._random.uniform(28, 44))
            self._say(self.guest, "outgoing" if kind == "image" else kind, text, at, image=kind == "image")
        self.events = sorted((event for event in self._events if event[0] <= end), key=lambda event: event[0])

    def _talks(self, name: str, at: datetime, end: datetime) -> None:
        """Talk about one thing after the other until the end; now and then the contact has to wait."""
        chat = self._begin(name, at)
        talks = cycle(self._random.sample(TALKS, len(TALKS)))
        while at < end:
            for number, line in enumerate(next(talks)):
                at += timedelta(seconds=self._random.uniform(20, 150))
                self._say(chat, "incoming" if number % 2 == 0 else "outgoing", line, at)
                if self._random.random() < 0.12:
                    at = max(at, end)
            if at < end and self._random.random() < 0.2:
                at += timedelta(seconds=30)
                self._events.append((at, chat.update(status="closed", updated_at=at.isoformat())))
                return
            at += timedelta(minutes=self._random.uniform(2, 9))

    def _begin(self, name: str, at: datetime) -> Conversation:
        iso = at.isoformat()
        service = self._random.choice(SERVICES)
        chat = self._organization.conversation(name=name, service=service, created_at=iso, updated_at=iso)
        self._events.append((at, chat.insert))
        return chat

    def _say(self, chat: Conversation, direction: str, text: str, at: datetime, *, image: bool = False) -> None:
        iso = at.isoformat()
        columns = {"timestamp": iso, "created_at": iso, "updated_at": iso, "status": {"pending": iso}}
        if image:
            columns["content"] = {"version": "1", "type": "file", "kind": "image", "text": text}
        say = {"incoming": chat.incoming, "outgoing": chat.outgoing, "internal": chat.internal}[direction]
        message = say(text, **columns)
        self._events.append((at, message.insert))
        if direction == "incoming" and self._random.random() < 0.75:
            self._reach(message, "read", at + timedelta(seconds=self._random.uniform(3, 40)))
        elif direction == "outgoing":
            self._deliver(message, at, fails=chat.row["name"] != GUEST and self._random.random() < 0.02)

    def _deliver(self, message: Message, at: datetime, *, fails: bool) -> None:
        at += timedelta(seconds=self._random.lognormvariate(-0.6, 0.5))
        self._reach(message, "sent", at)
        if fails:
            self._reach(message, "failed", at + timedelta(seconds=2), errors=[ERROR])
            return
        at += timedelta(seconds=self._random.lognormvariate(0.7, 0.9))
        self._reach(message, "delivered", at)
        if self._random.random() < 0.85:
            self._reach(message, "read", at + timedelta(seconds=self._random.lognormvariate(2.9, 1.0)))

    def _reach(self, message: Message, status: str, at: datetime, **more: object) -> None:
        iso = at.isoformat()
        merged = {**message.row["status"], status: iso, **more}
        self._events.append((at, message.update(status=merged, updated_at=iso)))

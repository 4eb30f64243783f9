"""What a support desk sees on a lively morning: rows as they live, with names and words that people use."""

import random
from datetime import UTC, datetime, timedelta

from bridge.testkit.rows import Conversation, Message, Organization, Webhook

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
SERVICES = ("whatsapp", "whatsapp", "whatsapp", "instagram")


def talk(conversation: Conversation, told: list[Webhook], lines: tuple[str, ...], rng: random.Random) -> Message:
    """Say the lines in turn, beginning with the contact; replies are delivered and mostly read."""
    message = None
    for number, line in enumerate(lines):
        message = conversation.incoming(line) if number % 2 == 0 else conversation.outgoing(line)
        told.append(message.insert)
        last = number == len(lines) - 1
        if message.direction == "outgoing":
            statuses = ("sent", "delivered", "read")
            told += [message.receipt(status) for status in statuses[: rng.choice((1, 2, 3)) if last else 3]]
        elif not last or rng.random() < 0.4:
            told.append(message.receipt("read"))
    assert message is not None
    return message


def morning(conversations: int = 33, *, seed: int = 7) -> tuple[Organization, list[Conversation], list[Webhook]]:
    """Return a desk, its conversations, and all that has happened there until a moment ago."""
    rng = random.Random(seed)
    desk = Organization(seed=seed)
    told: list[Webhook] = []
    chats = []
    for number in range(conversations):
        desk._now = datetime.now(UTC) - timedelta(minutes=170 * (1 - number / conversations) ** 1.6 + 6)
        chat = desk.conversation(name=NAMES[number % len(NAMES)], service=rng.choice(SERVICES))
        told.append(chat.insert)
        chats.append(chat)
        lines = TALKS[number % len(TALKS)]
        # In some, the contact has the last word.
        cut = len(lines) - (len(lines) % 2 == 0) if rng.random() < 0.4 else len(lines) - len(lines) % 2
        talk(chat, told, lines[: max(1, cut)], rng)
        if rng.random() < 0.15:
            told.append(chat.close())
        if rng.random() < 0.08:
            message = chat.outgoing("Your order is on its way.")
            told += [message.insert, message.receipt("sent")]
            told.append(message.receipt("failed", errors=[{"code": 131026, "title": "Message undeliverable"}]))
    return desk, chats, told

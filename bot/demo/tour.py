"""The tour of the demo's page: what one can try, each with one promise of Weft's that it shows. Light.

A prompt is what goes into the composer, with the mention as people type it; steps are what to do then, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MENTION = "@Weft"


@dataclass(frozen=True, slots=True)
class By:
    """A step that somebody else takes."""

    person: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Return it as the page takes it, which offers to act as that person."""
        return {"text": self.text, "person": self.person}


@dataclass(frozen=True, slots=True)
class TourStop:
    """One thing to try.

    Attributes:
        person: by name, who is to do it.
        place: the channel that the prompt is for, by name.
    """

    title: str
    text: str
    prompt: str = ""
    steps: tuple[str | By, ...] = ()
    person: str = "owner"
    place: str = "general"

    def to_json(self) -> dict[str, Any]:
        """Return it as the page takes it."""
        steps = [one if isinstance(one, str) else one.to_json() for one in self.steps]
        made = {"title": self.title, "text": self.text, "prompt": self.prompt, "steps": steps}
        return {name: value for name, value in made.items() if value} | {"person": self.person, "place": self.place}


TOUR = (
    TourStop(
        "Ask for something",
        "Mention Weft, and it opens a thread in which the answer grows while you read.",
        f"{MENTION} story",
        ("Send the message, and open the thread below it.", "Write in there to go on: no mention is needed."),
    ),
    TourStop(
        "Stop at any moment",
        "Whatever an agent does, one press ends it, and the message says who did that.",
        f"{MENTION} wait 600",
        ("Open the thread and press Stop below the answer.", "Writing stop or using /stop does the same."),
    ),
    TourStop(
        "Give permission",
        "The agent asks before it writes, and you see the whole change before you decide.",
        f"{MENTION} write a note for me",
        ("Press Allow once, or Reject.",),
    ),
    TourStop(
        "Stay out without rights",
        "Weft takes requests only from people who are let in; Sam is told so and no agent starts.",
        f"{MENTION} say hello",
        person="sam",
    ),
    TourStop(
        "Two people for what is dangerous",
        "A rule says that this command needs a second person, whoever asks for it.",
        f"{MENTION} run",
        ("Press Allow once: it waits for a second person.", By("ben", "As ben, an approver, press it too.")),
        person="ana",
    ),
    TourStop(
        "Ask no more for what is harmless",
        "An approver can turn an answer into a rule, for exactly this and for nothing else.",
        f"{MENTION} run npm test",
        (
            "Press Always here… and confirm the rule.",
            "Write run npm test once more: nobody is asked now.",
            "/permissions list shows the rules.",
        ),
        person="ben",
    ),
    TourStop(
        "Answer a question",
        "Agents can ask with buttons and forms, and go on with what you choose.",
        f"{MENTION} question",
        ("Press a colour.", "Press Answer… and fill in the form."),
    ),
    TourStop(
        "Write while it works",
        "Messages wait in order, and you can let one go first.",
        f"{MENTION} wait 600",
        ("Write say next in the thread: it waits, and a notice says so.", "Press Send now on the notice, or /stop."),
    ),
    TourStop(
        "Get a file",
        "What an agent puts into its folder for files is posted in the thread.",
        f"{MENTION} draw",
    ),
    TourStop(
        "Send a file",
        "Drop a file on the page, and the agent gets it with your words.",
        f"{MENTION} files",
        ("Attach a file before you send.",),
    ),
    TourStop(
        "From a change to main",
        "Each thread works on its own branch, which you look at, commit and merge from here.",
        f"{MENTION} edit Good evening",
        ("Press Allow once.", "Use /diff in the thread.", "Use /commit, then /merge."),
    ),
    TourStop(
        "Follow a plan",
        "What the agent plans is a list that is ticked off as it goes.",
        f"{MENTION} plan",
    ),
    TourStop(
        "Read a long answer",
        "An answer of any length comes whole: in several messages that keep code and tables together.",
        f"{MENTION} long",
    ),
    TourStop(
        "Choose model and mode",
        "Each thread has its own model, mode and effort, and remembers them.",
        f"{MENTION} say hello",
        ("Use /model in the thread and choose Demo large.", "Use /mode and choose Auto: then write writes unasked."),
    ),
    TourStop(
        "Restart in the middle",
        "Restart or kill the bot while it works: nothing that was accepted is lost.",
        f"{MENTION} story",
        ("Press Restart the bot, or Kill the bot, while the story grows.", "Press Continue when it is back."),
    ),
    TourStop(
        "See what waits for you",
        "/inbox lists every question and card that waits for you, in all threads.",
        f"{MENTION} question",
        ("Use /inbox anywhere, without answering the question first.",),
    ),
    TourStop(
        "Keep to a budget",
        "When a thread has used up its budget, an approver decides about each further turn.",
        f"{MENTION} spend 0.60",
        ("Write say more in the thread: it is over the budget.", By("ben", "As ben, press Allow this turn.")),
        person="ana",
    ),
    TourStop(
        "Open a post",
        "In the forum a post is a prompt by itself, and tags show its state.",
        "write a note",
        ("Press Post, and see the tags change.", "Press Allow once, or Reject."),
        place="tasks",
    ),
)

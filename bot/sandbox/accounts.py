"""Whose request or session it is: the bot by its token, people by theirs.

A person's token is unguessable and as old as the run: whoever has it acts as that person. The mutable state is the
tokens.
"""

import secrets

from bot.sandbox.model import User
from bot.sandbox.state import State

_BOT_SCHEME = "Bot "


class Accounts:
    """The accounts by their tokens."""

    def __init__(self, state: State, bot_token: str) -> None:
        self._state = state
        self._bot_token = bot_token
        self._users: dict[str, int] = {}
        self._tokens: dict[int, str] = {}

    def token_of(self, user_id: int) -> str:
        """The token of a person, made when it is first asked for."""
        # Kept: a page that is loaded again goes on with the token that it has.
        if user_id not in self._tokens:
            token = secrets.token_urlsafe(32)
            self._tokens[user_id] = token
            self._users[token] = user_id
        return self._tokens[user_id]

    def by_header(self, authorization: str | None) -> User | None:
        """The account that an Authorization header names: a bot says `Bot TOKEN`, a person `TOKEN`."""
        if authorization is None:
            return None
        # The forms are not mixed: a person's token behind "Bot" would be a bot's request that nothing judges.
        if authorization.startswith(_BOT_SCHEME):
            return self._state.bot if authorization == _BOT_SCHEME + self._bot_token else None
        return self._person(authorization)

    def by_token(self, token: str) -> User | None:
        """The account that opens a session of the gateway."""
        # Some libraries send the token here as REST wants it; Discord takes both.
        if token.removeprefix(_BOT_SCHEME) == self._bot_token:
            return self._state.bot
        return self._person(token)

    def _person(self, token: str) -> User | None:
        user_id = self._users.get(token)
        return None if user_id is None else self._state.members[user_id].user

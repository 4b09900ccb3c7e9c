"""The ssh engine: agents on hosts that people reach by ssh, started by the OpenSSH client.

A connection for each agent: what is lost with it is that agent. The mutable state is what is known of each host, who is
avoided, and what is still to be ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Self

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from acp.engine import LaunchSpec, tell_nobody
from acp.errors import AgentSpawnError, SpawnFailure
from acp.shutdown import StopLimits
from pool.engines.avoided_nodes import AvoidedNodes
from pool.engines.bot_run import BotRun
from pool.engines.model import EngineFinding, NodeStatus, Swept
from pool.engines.ssh.agent import SCRIPT_LIMITS, AgentMarks, SshAgent, remote_environment
from pool.engines.ssh.check import findings, missing_files, questions, told
from pool.engines.ssh.client import SshClient
from pool.engines.ssh.directory import private_directory
from pool.engines.ssh.failure import SshFailure
from pool.engines.ssh.hosts import Homes, HostState, choose
from pool.engines.ssh.leftovers import Leftovers
from pool.engines.ssh.script import marked, number, shared_part, steps
from pool.engines.ssh.settings import SshHost, SshSettings
from pool.engines.upkeep import keep_going

_FRESH, _FRESH_STATUS = 20.0, 60.0
"""Seconds for which a host's free memory is good enough: for a choice between hosts, and for who looks at them."""

_ASKING = 2.0
"""Seconds that a start waits for it, if one of the hosts answers."""

_SLOW = 40.0
"""Seconds beyond those for which one that took longer is not waited for again."""

_CALL = 10.0
_SAME_THREAD = 5.0
_STATE = "WEFT_ENGINE_STATE"
_QUICK = StopLimits(eof=0.0, term=1.0, kill=1.0)
_MOST_TOLD = 10

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Attempt:
    """A start: why the hosts failed that were tried, the one that is being tried, and when it began."""

    began: float
    tried: dict[str, AgentSpawnError] = field(default_factory=dict)
    trying: HostState | None = None


class SshEngine:
    """Starts agents on the hosts of its settings; see `pool.engines.model.PoolEngine`."""

    kind = "ssh"

    def __init__(self, name: str, settings: SshSettings, *, run: BotRun | None = None) -> None:
        self.name = name
        self._run = run or BotRun()
        self.start_timeout = settings.start_timeout
        self._settings = settings
        self._client = SshClient(settings)
        self._hosts = {host.called: HostState(host) for host in settings.hosts}
        self._avoided = AvoidedNodes()
        self._leftovers = Leftovers(self._end_marked)
        self._homes = Homes(self._who_has, len(self._hosts))
        self._asking = anyio.Lock()
        self._state = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        directory = private_directory()
        self._client.directory = await anyio.to_thread.run_sync(directory.__enter__)
        self._stack.push(directory)
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(keep_going, self.name, self._leftovers.work)
        self._stack.callback(tasks.cancel_scope.cancel)
        return self

    async def __aexit__(self, *exc_info: object) -> bool | None:
        return await self._stack.__aexit__(None, None, None)

    # --- starting ------------------------------------------------------------------------------------------------

    async def start(self, spec: LaunchSpec) -> SshAgent:
        attempt = _Attempt(anyio.current_time())
        with anyio.move_on_after(self.start_timeout):
            return await self._start(spec, attempt)
        text, whys = f"no host has started it within {self.start_timeout:g} s", list(map(str, attempt.tried.values()))
        if (last := attempt.trying) is not None:
            reason = f"has not started an agent within {self.start_timeout:g} s"
            # Otherwise it would be the first choice of the next start, too.
            self._failed(last, reason)
            whys.append(f"{last.name}: {reason}")
        raise AgentSpawnError(f"{self.name}: {_with_reasons(text, whys)}", failure=SpawnFailure.TIMEOUT)

    async def _start(self, spec: LaunchSpec, attempt: _Attempt) -> SshAgent:
        """Start it on one of the hosts."""
        thread = spec.labels.get("thread", "")
        # 1. What was left of the thread elsewhere must not work beside what is to come, if its host answers by now.
        with anyio.move_on_after(_SAME_THREAD):
            await self._leftovers.end_of(lambda one: bool(thread) and one.thread == thread)
        # 2. One host after the other, until one takes it.
        tried = attempt.tried
        home = await self._home(spec, thread)
        while True:
            if (home not in self._hosts or home in tried) and await self._rule_out(spec, attempt):
                continue
            if home in self._hosts and home not in tried and home not in self._avoided and self._hosts[home].room <= 0:
                # Elsewhere its conversation would be lost; here a place comes free.
                text = f"{self.name}: no free place on {home}, where this conversation is"
                raise AgentSpawnError(text, failure=SpawnFailure.NO_ROOM, room_on=(home,))
            state = choose(self._hosts.values(), self._avoided, tried, home)
            if state is None:
                raise self._no_host(tried)
            attempt.trying = state
            try:
                with self._place(state):
                    agent = await self._start_on(state, spec)
            except SshFailure as exc:
                error = exc.for_start(state.name)
                log.warning("ssh.start_failed", node=state.name, failure=exc.failure.name, reason=exc.in_full)
                if exc.failure not in (SpawnFailure.UNREACHABLE, SpawnFailure.RIGHTS):
                    raise error from exc
                self._failed(state, exc.reason, exc)
                tried[state.name], attempt.trying = error, None
                spec.tell(f"{state.name} {exc.reason}, trying another host")
            else:
                self._homes.note(thread, state.name)
                return agent

    async def _rule_out(self, spec: LaunchSpec, attempt: _Attempt) -> bool:
        """Ask the hosts between which there is a choice, all at once; whether any of them is out by that.

        One after the other, silent hosts would take all the time of a start, and many starts would wait in line.
        """
        asked = self._candidates(attempt.tried)
        await self._ask_for_memory(_FRESH, asked, since=attempt.began, tell=spec.tell)
        faults = {one.name: fault for one in asked if (fault := one.failed_since(attempt.began)) is not None}
        attempt.tried.update({name: fault.for_start(name) for name, fault in faults.items()})
        return bool(faults)

    async def _home(self, spec: LaunchSpec, thread: str) -> str:
        """Return the host on which a thread's files are; "": none, several, or nobody knows."""
        if self._settings.shared or len(self._hosts) == 1 or shared_part(spec.cwd, thread) == spec.cwd:
            return ""
        return await self._homes.of(thread, spec.cwd)

    async def _who_has(self, directories: Sequence[str]) -> dict[str, list[str]]:
        have: dict[str, list[str]] = {}
        # Not those that failed a moment ago: each start would wait for them.
        states = [one for one in self._hosts.values() if one.name not in self._avoided]
        await self._ask_for_memory(-1.0, states, directories, have)
        return have

    def _candidates(self, tried: dict[str, AgentSpawnError]) -> list[HostState]:
        """Return the hosts between which their memory decides; it need not be asked for where there is no choice."""
        fit = [one for one in self._hosts.values() if one.room > 0 and one.name not in tried]
        fit = [one for one in fit if one.name not in self._avoided] or fit
        return fit if len(fit) > 1 else []

    def _no_host(self, tried: dict[str, AgentSpawnError]) -> AgentSpawnError:
        full = [one for one in self._hosts.values() if one.name not in tried]
        if full or not tried:
            places = ", ".join(f"{one.name} {one.running} of {one.host.places}" for one in full)
            text = f"{self.name}: no free place ({places})"
            text = "; ".join([text, *_shortened(map(str, tried.values()))])
            return AgentSpawnError(text, failure=SpawnFailure.NO_ROOM, room_on=tuple(one.name for one in full))
        # One that may be back is worth another try, one that refuses us is not.
        errors = sorted(tried.values(), key=lambda one: not one.transient)
        if len(errors) == 1:
            return errors[0]
        text = _with_reasons("none of the hosts takes it", list(map(str, errors)))
        return AgentSpawnError(f"{self.name}: {text}", failure=errors[0].failure)

    @contextmanager
    def _place(self, state: HostState) -> Iterator[None]:
        """Take a place on a host, which the agent's end frees; a failed start frees it at once."""
        state.running += 1
        state.since += 1
        try:
            yield
        except BaseException:
            state.running -= 1
            state.since -= 1
            raise

    async def _start_on(self, state: HostState, spec: LaunchSpec) -> SshAgent:
        labels = spec.labels
        marks = AgentMarks(uuid.uuid4().hex, labels.get("state", ""), labels.get("thread", ""), self._run)
        # A sweep that is due there would end this agent later.
        began = anyio.current_time()
        if not await self._leftovers.end_of(lambda one: one.host is state.host and not one.thread):
            left = SshFailure(SpawnFailure.UNREACHABLE, "what an earlier run has left there could not be ended")
            raise state.failed_since(began) or left

        def silent() -> SshFailure | None:
            fault = state.failed_since(began)
            return fault if fault is not None and fault.silent else None

        values = {
            "cwd": spec.cwd,
            "base": shared_part(spec.cwd, marks.thread),
            **marks.values,
            **steps(SCRIPT_LIMITS),
        }
        try:
            marked(_STATE, marks.state)
            self._run.check()
            connection, words = await self._client.open(
                state.host,
                "agent",
                values,
                arguments=spec.argv,
                spec=spec,
                env=remote_environment(spec),
                known=silent,
            )
        except ValueError as exc:
            raise SshFailure(SpawnFailure.OTHER, str(exc)) from exc
        except (
            anyio.get_cancelled_exc_class()
        ):  # the end of the connection ends it, and this if that did not get through
            self._leftovers.add(state.host, marks.mark, marks.thread, f"{marks.marker[:8]} on {state.name}", 1.0)
            raise
        self._answered(state, words)
        agent = SshAgent(self._client, connection, state.host, marks, spec, self._stopped)
        log.info("ssh.started", place=agent.place, program=Path(spec.argv[0]).name)
        return agent

    def _stopped(self, agent: SshAgent, gone: bool) -> None:
        """Free an agent's place, and remember what may be left of it."""
        state = self._hosts[agent.node]
        state.running -= 1
        ended = agent.exit()
        if ended is not None and ended.unreachable:
            self._failed(state, ended.reason)
        if not gone:
            self._leftovers.add(agent.host, agent.marks.mark, agent.marks.thread, agent.place)

    # --- what is known of the hosts ------------------------------------------------------------------------------

    def _answered(self, state: HostState, words: list[str]) -> None:
        """Note what a host has said of its memory."""
        kib, since = number(words, 1), state.since
        state.measured(None if kib is None else kib * 1024, anyio.current_time())
        state.since = min(since, state.running)  # those that began a moment ago do not show yet
        self._avoided.well(state.name)

    def _failed(self, state: HostState, reason: str, fault: SshFailure | None = None) -> None:
        state.failed(reason, anyio.current_time(), fault)
        self._avoided.failed(state.name)

    async def _ask_for_memory(
        self,
        age: float,
        states: Sequence[HostState],
        directories: Sequence[str] = (),
        have: dict[str, list[str]] | None = None,
        *,
        since: float = -inf,
        tell: Callable[[str], None] = tell_nobody,
    ) -> None:
        """Ask those hosts whose free memory is older; waits a moment for answers, and not for who has none.

        While none of them has answered, the first answer is waited for, until all have failed: `connect_timeout` says
        when a silent one has.

        Args:
            have: gets those of the directories that each host has.
            since: one in trouble that was not asked since then is asked, however old what is known of it.
            tell: called when the first answer takes long.
        """
        if not states:
            return
        async with self._asking:
            now = anyio.current_time()
            stale = [one for one in states if now - one.asked > age or (one.trouble and one.asked < since)]
            well = any(not one.trouble for one in states if one not in stale)

            async def ask(one: HostState) -> None:
                await self._ask(one, directories, have)
                if not one.trouble:
                    limit.deadline = now + _ASKING

            async def say_so() -> None:
                await anyio.sleep(_ASKING)
                tell(_with_reasons("no host has answered yet", [one.name for one in stale]))

            async with anyio.create_task_group() as beside:
                beside.start_soon(say_so)
                with anyio.CancelScope(deadline=now + _ASKING if well or not stale else inf) as limit:
                    async with anyio.create_task_group() as tasks:
                        for one in stale:
                            tasks.start_soon(ask, one)
                beside.cancel_scope.cancel()
            for one in stale:
                if one.asked < now:  # it took too long: nothing is known against it, and it is not waited for again
                    one.asked, one.fault = now + _SLOW, None

    async def _ask(self, state: HostState, directories: Sequence[str], have: dict[str, list[str]] | None) -> None:
        values, seconds = {"state": self._state or "none"}, self._settings.connect_timeout + _CALL
        try:
            answer = await self._client.ask(state.host, "probe", values, arguments=directories, seconds=seconds)
        except SshFailure as exc:
            self._failed(state, exc.reason, exc)
        else:
            self._answered(state, answer[0])
            if have is not None:
                said = (number(line, 1) for line in answer if line[0] == "has")
                have[state.name] = [directories[one] for one in said if one is not None and one < len(directories)]

    async def nodes(self, fresh: float | None = None) -> Sequence[NodeStatus]:
        await self._ask_for_memory(_FRESH_STATUS if fresh is None else fresh, list(self._hosts.values()))
        return [one.status() for one in self._hosts.values()]

    # --- what was left -------------------------------------------------------------------------------------------

    async def sweep(self, state: str) -> Swept:
        self._state = state
        mark = marked(_STATE, state)
        ended, left = 0, list[str]()

        async def one_host(host: SshHost) -> None:
            nonlocal ended
            if self._leftovers.has(host, mark):
                left.append(host.called)  # it is away still, and is asked again before long
                return
            try:
                answer = await self._ended(host, mark)
            except SshFailure as exc:
                log.warning("ssh.sweep_failed", node=host.called, reason=exc.in_full)
                self._failed(self._hosts[host.called], exc.reason)
                left.append(host.called)
                self._leftovers.add(host, mark, "", f"agents of before on {host.called}")
            except BaseException:
                # The caller may wait for less time than a host takes; what was left there must go all the same.
                self._leftovers.add(host, mark, "", f"agents of before on {host.called}")
                raise
            else:
                ended += number(answer, 1) or 0
                if any(answer[2:]):
                    left.extend(f"{process.partition(':')[0]} on {host.called}" for process in answer[2:])

        async with anyio.create_task_group() as tasks:
            for host in self._settings.hosts:
                tasks.start_soon(one_host, host)
        return Swept(ended, tuple(left))

    async def _ended(self, host: SshHost, mark: str) -> list[str]:
        """End what carries a mark; return the script's answer: ``ended``, how many agents, and what is left."""
        seconds = self._settings.connect_timeout + _CALL
        values = steps(_QUICK)
        # Of a whole state only what is of earlier runs, as `BotRun.follows` has it: other engines may have started
        # agents by the same account, and a later run may have by the time that the host answers.
        if mark.startswith(_STATE) and self._run.epoch is not None:
            values["spare_from"] = self._run.epoch_mark
        elif mark.startswith(_STATE):
            values["spare"] = marked("WEFT_BOT_RUN", self._run.name)
        answer = (await self._client.ask(host, "end", values, arguments=(mark,), seconds=seconds))[-1]
        if answer[0] != "ended" or number(answer, 1) is None:
            raise SshFailure(
                SpawnFailure.OTHER, "its processes could not be listed: `weft doctor` says what is missing"
            )
        return answer

    async def _end_marked(self, host: SshHost, mark: str) -> bool:
        try:
            answer = await self._ended(host, mark)
        except SshFailure as exc:
            log.info("ssh.leftover_kept", node=host.called, reason=exc.in_full)
            if exc.failure is SpawnFailure.UNREACHABLE:
                self._failed(self._hosts[host.called], exc.reason, exc)
            return False
        # It was the connection that failed: a thread with its files there need not go elsewhere.
        self._avoided.well(host.called)
        self._hosts[host.called].trouble = ""
        return not any(answer[2:])

    # --- for the doctor ------------------------------------------------------------------------------------------

    async def check(self, *specs: LaunchSpec) -> Sequence[EngineFinding]:
        """Look at each host; with launch specs also at their directories and commands."""
        found: dict[str, list[EngineFinding]] = {}

        async def one_host(host: SshHost) -> None:
            try:
                answer = await self._client.ask(
                    host,
                    "check",
                    {"state": self._state or "none"},
                    arguments=questions(specs),
                    seconds=self._settings.connect_timeout + _CALL,
                )
            except SshFailure as exc:
                found[host.called] = [EngineFinding(False, f"{host.called}: {exc.in_full}", exc.fix)]
            else:
                found[host.called] = findings(host, answer)

        async with anyio.create_task_group() as tasks:
            for host in self._settings.hosts:
                tasks.start_soon(one_host, host)
        return [*missing_files(self._settings), *told([found[host.called] for host in self._settings.hosts])]


def _shortened(words: Iterable[str]) -> list[str]:
    """Return the first of them, and how many more there are."""
    known = list(words)
    more = len(known) - _MOST_TOLD
    return [*known[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]


def _with_reasons(text: str, reasons: Sequence[str]) -> str:
    return f"{text} ({'; '.join(_shortened(reasons))})" if reasons else text

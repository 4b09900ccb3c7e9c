"""What is sent to a cluster and read of it, without one: settings, labels, the gate's environment, a status."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from acp.engine import LaunchSpec
from acp.errors import SpawnFailure
from acp.shutdown import StopLimits
from pool.engines.bot_run import BotRun
from pool.engines.kubernetes.check import HELPFUL, NEEDED, WITH_CLAIMS
from pool.engines.kubernetes.manifest import GATE, READY, claim_name, header, label, labels_of, pod_manifest, pod_name
from pool.engines.kubernetes.settings import KubernetesSettings, Mount, NewClaim, Volume
from pool.engines.kubernetes.status import event_words, how_it_ended, is_over, quantity, waiting_for

RUN = BotRun("run", 17)

LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def spec_of(**labels: str) -> LaunchSpec:
    return LaunchSpec(("agent", "--acp"), "/work/1", {}, labels=labels)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.text(max_size=100), st.text(max_size=100))
def test_any_text_becomes_a_label_that_no_other_becomes(one: str, other: str) -> None:
    """P14"""
    assert LABEL.fullmatch(label(one))
    assert (label(one) == label(other)) == (one == other)
    for name in (pod_name(spec_of(agent=one), "0123456789"), claim_name(spec_of(agent=one, thread=other))):
        assert NAME.fullmatch(name), name


def test_an_ordinary_label_stays_as_it_is() -> None:
    """P14"""
    spec = spec_of(state="4f1c", agent="claude", thread="1234567890123456789")
    labels = labels_of(spec, RUN)
    assert (labels["weft/thread"], labels["weft/run"], labels["weft/epoch"]) == ("1234567890123456789", "run", "17")
    assert pod_name(spec, "0a1b2c3d4e") == "weft-claude-0a1b2c3d4e"
    assert claim_name(spec) == claim_name(spec_of(state="4f1c", agent="claude", thread="1234567890123456789"))
    assert claim_name(spec) != claim_name(spec_of(state="another", agent="claude", thread="1234567890123456789"))


def gate(input_: bytes, *argv: str) -> subprocess.CompletedProcess[bytes]:
    command = ["/bin/sh", "-c", GATE, "weft", "/", *argv]
    return subprocess.run(
        command, input=input_, capture_output=True, timeout=60, check=False, env={"PATH": "/usr/bin:/bin"}
    )


VALUES = {
    "NEWLINES": "\na\n\nb\n",
    "QUOTES": "'\"`\\\\n\\0101",
    "WORDS": "$(exit 9) ${HOME} ; & | * =",
    "UNICODE": "ü€😀",
    "EMPTY": "",
}


def test_the_gate_passes_each_value_and_not_a_byte_of_what_follows() -> None:
    """R5: the shell reads no further than the empty line."""
    ran = gate(header({**VALUES, "not.a.name": "x"}) + b"\x00the first bytes\n", "sh", "-c", "env -0; echo; cat")
    said, _, rest = ran.stdout.removeprefix(READY).partition(b"\0\n")
    env = dict(one.split("=", 1) for one in said.decode().split("\0"))
    assert {name: env.get(name) for name in VALUES} == VALUES
    assert "not.a.name" not in env
    assert rest == b"\x00the first bytes\n"


def test_the_gate_says_by_its_exit_code_what_is_missing() -> None:
    """P9, P14"""
    assert gate(b"A=b\n", "cat").returncode == 120
    assert gate(header({}), "/nowhere/agent").returncode == 127
    assert gate(b"", "cat").stdout == b""


@pytest.mark.soak
@given(
    st.dictionaries(
        st.from_regex("[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text(st.characters(exclude_characters="\0"))
    )
)
def test_the_gate_passes_any_environment(env: dict[str, str]) -> None:
    """P14"""
    env = {f"V_{name}": value.encode(errors="replace").decode() for name, value in env.items()}
    ran = gate(header(env), "env", "-0")
    got = dict(one.split("=", 1) for one in ran.stdout.removeprefix(READY).decode().rstrip("\0").split("\0"))
    assert {name: got.get(name) for name in env} == env


def test_a_pod_has_no_more_rights_than_it_needs() -> None:
    """R5, P14"""
    body = pod_manifest("weft-x", spec_of(), KubernetesSettings(image="a:1"), RUN, limits=StopLimits())["spec"]
    (container,) = body["containers"]
    assert body["restartPolicy"] == "Never"
    assert body["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert (container["stdin"], container["stdinOnce"], body["terminationGracePeriodSeconds"]) == (True, True, 4)
    assert body["volumes"] == [{"name": "work", "emptyDir": {}}]
    assert not {"nodeSelector", "tolerations", "affinity", "runtimeClassName", "serviceAccountName"} & set(body)


def test_a_pod_is_as_the_settings_say() -> None:
    """P14"""
    said = KubernetesSettings.model_validate(
        {
            "image": "a:1",
            "user": 1000,
            "group": 1000,
            "tolerations": [{"key": "agents", "effect": "NoExecute", "seconds": 60}],
            "volume": {"claim": "shared", "sub_path": "threads/{thread_id}"},
            "mounts": [{"path": "/ca", "config_map": "ca"}, {"path": "/node", "host_path": "/srv", "read_only": False}],
            "env_from": ["keys"],
            "runtime_class": "gvisor",
        }
    )
    body = pod_manifest("weft-x", spec_of(thread="17"), said, RUN, avoid=["b", "a"], limits=StopLimits())["spec"]
    (container,) = body["containers"]
    assert container["volumeMounts"] == [
        {"name": "work", "mountPath": "/work", "subPath": "threads/17"},
        {"name": "mount-0", "mountPath": "/ca", "readOnly": True},
        {"name": "mount-1", "mountPath": "/node", "readOnly": False},
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert body["tolerations"][0]["tolerationSeconds"] == 60
    assert body["securityContext"]["fsGroup"] == 1000
    assert body["runtimeClassName"] == "gvisor"
    (wish,) = body["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [one["values"] for one in wish["preference"]["matchFields"]] == [["a"], ["b"]]
    assert said.a_volume_per_thread


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "image"),
        ({"image": "a", "requests": {"memory": "much"}}, "quantity"),
        ({"image": "a", "namespace": "Weft"}, "small letters"),
        ({"image": "a", "secrets": {"KEY": "secret"}}, "its key"),
        ({"image": "a", "volume": {"claim": "a", "host_path": "/b"}}, "not both"),
        ({"image": "a", "volume": {"sub_path": "a"}}, "is for claim"),
        ({"image": "a", "volume": {"claim": "a", "sub_path": "a/../b"}}, "no .. in it"),
        ({"image": "a", "mounts": [{"path": "/a"}]}, "say one of"),
        ({"image": "a", "imagee": "b"}, "imagee"),
    ],
)
def test_a_wrong_setting_is_told(values: dict[str, Any], words: str) -> None:
    """P14"""
    with pytest.raises(ValidationError, match=words):
        KubernetesSettings.model_validate(values)


def status(**said: Any) -> dict[str, Any]:
    return {"spec": {"nodeName": "node-1"}, "status": said}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "agent", "state": state}]


@pytest.mark.parametrize(
    ("why", "full"),
    [
        ("1 Insufficient cpu, 1 node(s) had untolerated taint {a: b}", True),
        ("2 Too many pods", True),
        ("2 node(s) exceed max volume count", True),
        ("2 Insufficient nvidia.com/gpu", True),
        ("2 node(s) didn't match Pod's node affinity/selector", False),
        ("2 node(s) had volume node affinity conflict", False),
        ("pod has unbound immediate PersistentVolumeClaims", False),
        ("2 node(s) were unschedulable", False),
    ],
)
def test_room_is_asked_for_where_the_end_of_another_pod_makes_some(why: str, full: bool) -> None:
    """P14"""
    words = f"0/2 nodes are available: {why}. preemption: 0/2 nodes are available: 2 Preemption is not helpful."
    condition = {"type": "PodScheduled", "status": "False", "message": words}
    assert waiting_for({"status": {"conditions": [condition]}}).full is full


def test_a_status_is_put_into_words() -> None:
    """P14"""
    never = waiting_for(status(containerStatuses=container(waiting={"reason": "ErrImageNeverPull", "message": "no"})))
    assert (never.failure, never.final) == (SpawnFailure.IMAGE, True)
    long = "0/9 nodes are available: " + "1 node(s) had untolerated taint {a: b}, " * 9 + "preemption: 0/9 nodes"
    condition = {"type": "PodScheduled", "status": "False", "message": long}
    words = waiting_for({"status": {"conditions": [condition]}}).words
    assert words.startswith("no node takes it: 1 node(s) had untolerated taint")
    assert len(words) < 200
    assert waiting_for(status()).words == "starting on node-1"
    old = {"type": "Warning", "reason": "FailedMount", "message": "a", "lastTimestamp": "2026-01-01T00:00:01Z"}
    new = {"type": "Warning", "reason": "FailedAttach", "message": "b", "lastTimestamp": "2026-01-01T00:00:02Z"}
    assert event_words([new, old, {"type": "Normal", "reason": "Pulling"}]) == "FailedAttach: b"


def test_an_end_is_put_into_words() -> None:
    """P14"""
    killed = status(phase="Failed", containerStatuses=container(terminated={"exitCode": 137, "reason": "Error"}))
    assert how_it_ended(killed).describe() == "signal 9 (SIGKILL)"
    assert how_it_ended(killed, deleted=True).reason == "deleted"
    evicting = status(phase="Failed", reason="Evicted", containerStatuses=container(running={}))
    assert not is_over(evicting)
    assert how_it_ended(evicting).describe() == "ended: Evicted"
    assert how_it_ended(status(phase="Failed", reason="NodeLost")).reason == "node lost"
    assert how_it_ended(None).describe() == "ended"


def test_a_quantity_is_a_number() -> None:
    """P14"""
    said = {"512Mi": 2**29, "1.5Gi": 1.5 * 2**30, "1e3": 1000, "250m": 0.25, "4039828Ki": 4039828 * 1024, "": 0}
    assert {text: quantity(text) for text in said} == said


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "engine-kubernetes.md").read_text()


def test_the_page_names_each_setting_and_its_example_is_valid() -> None:
    """P14"""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (deployed,) = [one["data"]["weft.toml"] for one in manifests("weft.yaml") if one["kind"] == "ConfigMap"]
    for text in (example, deployed):
        engine = KubernetesSettings.model_validate(tomllib.loads(text)["engines"]["cluster"])
        assert engine.a_volume_per_thread
    for model in (KubernetesSettings, Volume, NewClaim, Mount):
        for name in set(model.model_fields) - {"kind"}:
            assert re.search(rf"[`{{ ]{name}\b", PAGE), name


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "examples" / "kubernetes" / name).read_text()))


def test_the_rights_that_are_shown_are_those_that_are_asked_for() -> None:
    """R5, P14"""
    (role,) = [one for one in manifests("rights.yaml") if one["kind"] == "Role"]
    shown = {
        (verb, *(*resource.split("/"), "")[:2])
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {*NEEDED, *WITH_CLAIMS, *(right for right, _ in HELPFUL)}
    assert shown == asked | {("get", "persistentvolumeclaims", "")}

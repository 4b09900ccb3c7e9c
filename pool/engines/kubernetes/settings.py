"""What the settings may say of a Kubernetes engine; readable without the extra installed (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_KEY = re.compile(r"[A-Za-z0-9._/-]{1,317}")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_KEY = re.compile(r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9._-]+")
_PATH = re.compile(r"/[^:\0]*")


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return check


_Name = Annotated[
    str, AfterValidator(_matching(_NAME, "a name that Kubernetes allows: small letters, digits, - and ."))
]
_Quantity = Annotated[str, AfterValidator(_matching(_QUANTITY, 'a quantity such as "500m" or "2Gi"'))]
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_MORE_RESOURCES = re.compile(r"hugepages-.+|[^/]+/[^/]+")
"""Resources of the cluster's own have a prefix, such as ``nvidia.com/gpu``."""


def _resource(value: str) -> str:
    # The API refuses others as well, but with each start, and not when the settings are read.
    if value not in _RESOURCES and not _MORE_RESOURCES.fullmatch(value):
        near = get_close_matches(value, _RESOURCES, 1, 0.7)  # "gpu" is not meant as "cpu"
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(_RESOURCES)}, and those with a /"
        raise ValueError(f"there is no such resource; {meant}")
    return value


_Key = Annotated[str, AfterValidator(_matching(_KEY, "a label's or a resource's name"))]
_Resource = Annotated[_Key, AfterValidator(_resource)]
_Value = Annotated[str, AfterValidator(_matching(_VALUE, "a label's value"))]
_Variable = Annotated[str, AfterValidator(_matching(_VARIABLE, "a variable's name"))]
_SecretKey = Annotated[str, AfterValidator(_matching(_SECRET_KEY, 'a secret and its key, such as "anthropic/api-key"'))]
_Path = Annotated[str, AfterValidator(_matching(_PATH, "a path that begins with /"))]
_Id = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Toleration(_Strict):
    """A taint that does not keep agents away; ``seconds`` only for NoExecute."""

    key: _Key | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: _Value | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    seconds: Annotated[int, Field(ge=0)] | None = None


class NewClaim(_Strict):
    """A claim for each thread, made when the thread's first agent starts."""

    size: _Quantity = "5Gi"
    storage_class: _Name | None = None
    access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] = "ReadWriteOnce"


class Volume(_Strict):
    """Where workspaces and the agent's home are kept: one of three, or neither, and then they end with the pod.

    Attributes:
        path: where it is in the pod.
        new_claim: a claim for each thread.
        claim: one claim for all; several nodes share it only as ReadWriteMany.
        host_path: a directory of the node.
        sub_path: the part of ``claim`` or ``host_path`` that a pod sees; ``{thread_id}`` in it gives each its own.
    """

    path: _Path = "/work"
    new_claim: NewClaim | None = None
    claim: _Name | None = None
    host_path: _Path | None = None
    sub_path: Annotated[str, Field(pattern=r"^[^/]", max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        said = [name for name in ("new_claim", "claim", "host_path") if getattr(self, name) is not None]
        if len(said) > 1:
            raise ValueError(f"say one of {' and '.join(said)}, not both")
        if self.sub_path is not None and (self.claim is None and self.host_path is None):
            raise ValueError("sub_path is for claim and host_path")
        # The API refuses it as well, but with each start, and not when the settings are read.
        if self.sub_path is not None and ".." in self.sub_path.split("/"):
            raise ValueError("sub_path has no .. in it")
        return self


class Mount(_Strict):
    """A further directory in the pod: exactly one of ``claim``, ``secret``, ``config_map`` and ``host_path``."""

    path: _Path
    claim: _Name | None = None
    secret: _Name | None = None
    config_map: _Name | None = None
    host_path: _Path | None = None
    read_only: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        said = [one for one in (self.claim, self.secret, self.config_map, self.host_path) if one is not None]
        if len(said) != 1:
            raise ValueError("say one of claim, secret, config_map and host_path")
        return self


class KubernetesSettings(_Strict):
    """How agents run as pods.

    Attributes:
        kubeconfig: the file; None: the pod's own service account inside a cluster, else kubectl's usual file.
        context: in that file; None: its current one.
        namespace: where the pods are; None: what the context or the service account says.
        image: needs ``/bin/sh`` and the agent's command.
        requests, limits: by resource, as Kubernetes writes them.
        volume: workspaces and the agent's home.
        mounts: what else is to be seen in the pod.
        secrets: variables, each from a key of a secret: ``{VARIABLE = "secret/key"}``.
        env_from: secrets whose keys are all variables.
        service_account: of the agents; its token is never mounted.
        user, group: numbers that the agent runs as; ``user = 0`` is root. None: the image's user, which must not be 0.
        start_timeout: seconds until the agent runs: room, image and volume.
        places: agents at most; None: as many as the cluster takes.
    """

    kind: Literal["kubernetes"] = "kubernetes"
    kubeconfig: str | None = None
    context: str | None = None
    namespace: _Name | None = None
    image: Annotated[str, Field(min_length=1)]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: list[_Name] = []
    requests: dict[_Resource, _Quantity] = {"cpu": "250m", "memory": "512Mi"}
    limits: dict[_Resource, _Quantity] = {"memory": "2Gi"}
    volume: Volume = Volume()
    mounts: list[Mount] = []
    secrets: dict[_Variable, _SecretKey] = {}
    env_from: list[_Name] = []
    service_account: _Name | None = None
    user: _Id | None = None
    group: _Id | None = None
    seccomp: Literal["RuntimeDefault", "Unconfined"] = "RuntimeDefault"
    node_selector: dict[_Key, _Value] = {}
    tolerations: list[Toleration] = []
    runtime_class: _Name | None = None
    priority_class: _Name | None = None
    start_timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 180.0
    places: Annotated[int, Field(ge=1)] | None = None

    @property
    def a_volume_per_thread(self) -> bool:
        """Whether a pod sees the files of one thread only: its process can't be shared with another thread."""
        return self.volume.new_claim is not None or "{thread_id}" in (self.volume.sub_path or "")

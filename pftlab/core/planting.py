"""Planting a delta at a site, and taking it out again."""

from collections.abc import Callable, Iterator

from torch import nn
from torch.utils.hooks import RemovableHandle

from .architectures import ARCHITECTURES
from .delta import PREFIX, Delta
from .errors import BadValue, Refused
from .places import Port, Site
from .ports import attention, module, sequence, weight

#: where something passes → how a delta there is connected, step by step: the hooks' handles
PORTS: dict[Port, Callable[[Site, str, Delta], Iterator[RemovableHandle]]] = {
    Port.OUTPUT: module.plant_at_output,
    Port.INPUT: module.plant_at_input,
    Port.NORMED: module.plant_before_norm,
    Port.KEYS_VALUES: attention.plant,
    Port.SEQUENCE: sequence.plant,
    Port.WEIGHT: weight.plant,
}


def plant(site: Site, method_name: str, delta: Delta) -> None:
    """Make `delta` a child of the site's host; from now on it rewrites what passes there.

    Args:
        site: where.
        method_name: the name under which its method is attached; the child is called
            "pft_<method name>", plus the site's last word where several share a host.
        delta: what; moved to the host's device, and to the type of the policy in `delta`.

    Raises:
        Refused: the delta rewrites something else than what passes at this site.
        BadValue: the host already carries a delta of that name.
    """
    _check_port(site, delta)
    name = child_name(site, method_name)
    if name in dict(site.host.named_children()):
        raise BadValue(
            f"{site.path!r} already carries {name!r}. Detach it first, or attach under another "
            "name; two sites of one module take two attachments."
        )
    if (device := site.device) is not None:
        delta.to(device=device, dtype=site.dtype)
    delta.site_name, delta.method_name = site.name, method_name
    delta.home, delta.slice = (site.host,), site.slice
    delta.widths = site.x_width, site.d_out
    delta.reads_h = site.place.port in (Port.INPUT, Port.NORMED)
    delta.reads_elsewhere = site.place.port is Port.OUTPUT and bool(site.place.x)
    delta.train(site.host.training)
    site.host.add_module(name, delta)
    hooks: list[RemovableHandle] = []
    delta.hooks = hooks  # filled one by one: uproot finds them even when an error comes between
    for hook in PORTS[site.place.port](site, name, delta):
        hooks.append(hook)


def uproot(host: nn.Module, name: str) -> None:
    """Take the delta called `name` out of `host`, with its hooks."""
    delta: Delta = getattr(host, name)
    for hook in delta.hooks:
        hook.remove()
    delattr(host, name)


def child_name(site: Site, method_name: str) -> str:
    """Name of the delta in its host. Slices and inputs share hosts, so they get a suffix."""
    suffix = ""
    shares_host = not site.slice.is_whole or site.place.port in (Port.INPUT, Port.WEIGHT)
    if shares_host:
        suffix = "_" + site.name.split(".")[-1]
    return PREFIX + method_name + suffix


def _check_port(site: Site, delta: Delta) -> None:
    if site.place.port in delta.ports:
        return
    fitting = [
        name
        for name, places in ARCHITECTURES[site.config.model_type].places.items()
        if places[0].port in delta.ports
    ]
    advice = f"Choose from: {', '.join(fitting)}." if fitting else "Plant it at a parameter."
    raise Refused(
        f"A {type(delta).__name__} rewrites {' or '.join(port.value for port in delta.ports)}; at "
        f"{site.name!r} passes {site.place.port.value}. {advice}"
    )

"""The repr of a tree, zygote, template or instance has its name and its state."""

import os
import re
import signal

import pytest

from tests.kit.support import Bench, event, failure, until

pytestmark = pytest.mark.any_user


async def test_live_objects_show_their_state(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("slow", "sometimes"))
    (zygote,), (template,) = bench.tree.zygotes(), bench.tree.templates()
    objects = (bench.tree, zygote, template, instance)

    assert list(map(shown, objects)) == [
        "<Tree zygotes=1 templates=1 instances=1>",
        "<Zygote default live pid=P>",
        "<Template N slow-sometimes live pid=P instances=1>",
        "<Instance slow-sometimes-N serving pid=P calls=0>",
    ]
    call = instance.invoke(event(b'"slow"'))  # or it might be answered before the end of the template is known
    os.kill(template.pid, signal.SIGKILL)
    await until(lambda: "swept" in repr(template))
    assert shown(template) == "<Template N slow-sometimes swept pid=P instances=1>"
    assert shown(instance) == "<Instance slow-sometimes-N leaving pid=P calls=1>"
    os.kill(instance.pid, signal.SIGKILL)
    assert failure(await call).code == "Signal"
    await template.gone.wait()
    assert list(map(shown, objects)) == [
        "<Tree zygotes=1 templates=0 instances=0>",
        "<Zygote default live pid=P>",
        "<Template N slow-sometimes gone pid=P instances=0>",
        "<Instance slow-sometimes-N dead pid=P calls=0>",
    ]


def shown(one: object) -> str:
    return re.sub(r"(?<=[ -])\d+(?= )", "N", re.sub(r"pid=[1-9]\d*", "pid=P", repr(one)))

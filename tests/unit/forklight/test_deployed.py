"""Applications of others on one server: what a deployed configuration may name, and what two may not both claim."""

from pathlib import Path

import pytest

from forklight.config.composed import Part, composed
from forklight.config.configuration import Config, empty, load
from forklight.config.deployed import load_deployed
from forklight.config.problem import ConfigError

ENVIRON = {"SHOP_URL": "http://shop", "OTHER": "x", "SECRET": "y"}


def server_of(folder: Path, text: str = '[deploy]\nenv = ["SHOP_*", "OTHER"]\n') -> Config:
    folder.mkdir(exist_ok=True)
    (folder / "base.toml").write_text(text)
    return load(folder / "base.toml", ENVIRON, folder / "state")


def deployed(folder: Path, name: str, text: str, server: Config | None = None) -> Config:
    place = folder / name
    place.mkdir()
    (place / "forklight.toml").write_text(text)
    (place / "f.py").write_text("def handler(event, context): pass\n")
    return load_deployed(name, place, server or server_of(folder / "server"), folder / "state", ENVIRON)


def problems_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        deployed(folder, "shop", text)
    return str(caught.value).replace(str(folder), "").splitlines()


def test_what_a_deployed_configuration_may_not_name_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert (
        problems_of(
            tmp_path,
            """[functions.f]
handler = "f:handler"
code = "../other"
env_file = "/etc/passwd"
env = { A = "${SECRET}", B = "${SHOP_MISSING}" }
[functions.f.secrets]
C = { env = "SECRET" }
D = { file = "/etc/shadow" }
E = { file = "../key" }
F = { file = "keys/stripe" }
[runtimes.r]
requirements = "requirements.txt"
[functions.g]
handler = "f:handler"
runtime = "r"
[runtimes.s]
requirements = "/etc/passwd"
""",
        )
        == """\
forklight.toml:3 functions.f.code: ../other is outside of the application, and only what is in it was \
deployed: copy it there
forklight.toml:4 functions.f.env_file: /etc/passwd is outside of the application, and only what is in it was \
deployed: copy it there
forklight.toml:5 functions.f.env.A: needs SECRET of the server, which applications may not read: it needs \
[deploy] env = ["SECRET"] there
forklight.toml:5 functions.f.env.B: needs SHOP_MISSING, which is not set in the server's environment
forklight.toml:7 functions.f.secrets.C: needs the environment variable SECRET of the server, which \
applications may not read: it needs [deploy] env = ["SECRET"] there
forklight.toml:8 functions.f.secrets.D: names a file outside of the application: write a relative path, such \
as { file = "shadow" }, which is looked up in /state/secrets/shop on the server
forklight.toml:9 functions.f.secrets.E: names a file outside of the application: write a relative path, such \
as { file = "key" }, which is looked up in /state/secrets/shop on the server
forklight.toml:10 functions.f.secrets.F: needs the file /state/secrets/shop/keys/stripe on the server: files \
of secrets are not packed, so put it there
forklight.toml:12 runtimes.r.requirements: requirements.txt cannot be read: No such file or directory
forklight.toml:17 runtimes.s.requirements: /etc/passwd is outside of the application, and only what is in it \
was deployed: copy it there
""".splitlines()
    )


def test_a_deployed_configuration_gets_its_own_data_and_secrets_and_no_table_of_the_servers(tmp_path: Path) -> None:
    (tmp_path / "state/secrets/shop/keys").mkdir(parents=True)
    (tmp_path / "state/secrets/shop/keys/stripe").write_text("s3cret\n")
    config = deployed(
        tmp_path,
        "shop",
        """[http]
listen = "0.0.0.0:80"
[functions.f]
handler = "f:handler"
data = true
env = { A = "${SHOP_URL}" }
secrets = { S = { file = "keys/stripe" }, O = { env = "OTHER" } }
[machine]
user = "root"
""",
    )
    assert config.functions["f"].secrets == {"S": "s3cret", "O": "x"}
    assert config.functions["f"].env == {
        "A": "http://shop",
        "FORKLIGHT_DATA": str(tmp_path / "state/applications/shop/data"),
    }
    assert config.settings.http.listen == "127.0.0.1:8080"
    assert config.settings.machine.user is None
    assert list(map(str, config.warnings)) == [
        "forklight.toml:1 http: is ignored: [http] is the server's own",
        "forklight.toml:8 machine: is ignored: [machine] is the server's own",
    ]


SHOP = """[functions.pay]
handler = "f:handler"
http = ["POST /pay/{id}", "GET /pay"]
queue = ["orders", "paid"]
timer = "@daily"
[functions.show]
handler = "f:handler"
"""
BLOG = """[functions.show]
handler = "f:handler"
[functions.post]
handler = "f:handler"
http = ["GET /post", "POST /pay/{name}"]
queue = "orders"
timer = "@daily"
"""


def test_a_clash_of_two_applications_names_both_and_the_place(tmp_path: Path) -> None:
    server = server_of(tmp_path / "server", '[functions.own]\nhandler = "f:handler"\n')
    shop = Part(application="shop", number=3, config=deployed(tmp_path, "shop", SHOP, server))
    blog = Part(application="blog", number=1, config=deployed(tmp_path, "blog", BLOG, server))
    with pytest.raises(ConfigError) as caught:
        composed(server, [shop, blog])
    assert (
        [str(one).replace(str(tmp_path), "") for one in caught.value.problems]
        == """\
/blog/forklight.toml:1 functions.show: the application 'blog' has a function 'show', and so has the \
application 'shop' (forklight.toml:6): all applications of a server share the names of functions; rename one \
of them
/blog/forklight.toml:5 functions.post.http[1]: /pay/{name} of the application 'blog' takes the same requests \
as /pay/{id} of the function 'pay' of the application 'shop' (forklight.toml:1): take another path or method
/blog/forklight.toml:6 functions.post.queue: the application 'blog' consumes 'orders', and so does the \
function 'pay' of the application 'shop' (forklight.toml:1): each would get some of its messages; take another \
queue
""".splitlines()
    )
    own = Part(application="own", config=deployed(tmp_path, "own", '[functions.own]\nhandler = "f:handler"\n', server))
    with pytest.raises(ConfigError, match=r"so has the server's own configuration .*base.toml:1"):
        composed(server, [own])


def test_applications_that_go_together_make_one_configuration(tmp_path: Path) -> None:
    server = empty(tmp_path, tmp_path / "state", ENVIRON)
    runtime = '[runtimes.r]\nenv = {{ N = "{}" }}\n[functions.{}]\nhandler = "f:handler"\nruntime = "r"\n'
    parts = [
        Part(application=name, number=1, config=deployed(tmp_path, name, runtime.format(name, f"f-{name}"), server))
        for name in ("one", "two")
    ]
    whole = composed(server, parts)
    assert list(whole.functions) == ["f-one", "f-two"]
    assert [whole.runtimes[f"{name}/r"].env["N"] for name in ("one", "two")] == ["one", "two"]
    new = deployed(tmp_path, "new", '[functions.f-one]\nhandler = "f:handler"\nhttp = "/x"\n', server)
    more = deployed(tmp_path, "more", '[functions.f-new]\nhandler = "f:handler"\nhttp = "/x"\nqueue = "q"\n', server)
    canary = composed(server, parts, [Part(application="one", number=2, config=more)])
    assert list(canary.functions) == ["f-one", "f-two", "f-new"]
    assert [one.queue for one in canary.queues if one.function == "f-new"] == ["forklight.inbox.f-new"]
    assert canary.routes == ()
    with pytest.raises(ConfigError, match=r"the application 'two' has a function 'f-one', and so has .* 'one'"):
        composed(server, parts, [Part(application="two", number=2, config=new)])


def test_all_applications_together_must_fit_into_the_machine(tmp_path: Path) -> None:
    server = server_of(tmp_path / "server", "[machine]\nmax_instances = 5\n[deploy]\n")
    text = '[functions.{}]\nhandler = "f:handler"\nreserved = 3\n'
    parts = [
        Part(application=name, config=deployed(tmp_path, name, text.format(name), server)) for name in ("one", "two")
    ]
    composed(server, parts[:1])
    with pytest.raises(ConfigError, match=r"base.toml machine.max_instances: is 5, but 6 instances are reserved"):
        composed(server, parts)

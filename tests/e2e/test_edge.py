"""A served application with files, keys and a proxy in front, as one configuration says it."""

from tests.kit.application import application
from tests.kit.served import eventually, serving

CODE = """
def seen(event):
    http = event["http"]
    return {"headers": http["headers"], "remote": http["remote"], "scheme": http["scheme"], "host": http["host"]}
"""

TOML = """
[functions.seen]
handler = "edge:seen"
[[functions.seen.http]]
path = "/seen"
cors = "*"
[[functions.seen.http]]
path = "/guarded"
auth = "key"
[http]
trusted_proxies = ["127.0.0.0/8"]
[[http.static]]
path = "/"
dir = "public"
"""


async def test_files_keys_and_a_proxy() -> None:
    with application(TOML, edge=CODE) as folder:
        (folder / "public").mkdir()
        (folder / "public/index.html").write_text("<p>hello")
        async with serving(folder) as server:
            page = await server.get("/")
            assert (page.status, page.body, page.headers["content-type"]) == (
                200,
                b"<p>hello",
                "text/html; charset=utf-8",
            )
            assert (await server.get("/none.html")).status == 404
            forwarded = {
                "X-Forwarded-For": "198.51.100.1",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "a.example",
            }
            seen = await server.get("/seen", headers=forwarded | {"Origin": "https://b.example"})
            assert seen.headers["access-control-allow-origin"] == "*"
            assert (seen.json()["remote"], seen.json()["scheme"], seen.json()["host"]) == (
                "198.51.100.1",
                "https",
                "a.example",
            )

            assert "warning: there is no key yet for /guarded: forklight keys create NAME makes one\n" in server.said
            assert "files of public\n" in "".join(server.said)
            assert (await server.get("/guarded")).status == 401
            key = (await server.run("keys", "create", "alice")).stdout.strip()
            bearer = {"Authorization": f"Bearer {key}"}

            async def is_status(status: int) -> bool:
                reply = await server.get("/guarded", headers=bearer)
                assert key.encode() not in reply.body
                return reply.status == status

            await eventually(lambda: is_status(200))
            assert (await server.run("keys", "revoke", "alice")).status == 0
            await eventually(lambda: is_status(401))
            assert key not in server.log + "".join(server.said)

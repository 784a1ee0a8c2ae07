"""The same two answers with FastAPI, as its documentation writes them."""

from fastapi import FastAPI, Request  # type: ignore[import-not-found]  # only in the peers' own environment


async def hello() -> dict[str, str]:
    return {"hello": "world"}


async def upload(request: Request) -> dict[str, int]:
    return {"length": len(await request.body())}


app = FastAPI()
app.get("/hello")(hello)
app.post("/upload")(upload)

"""Talks to the MCP server with real MCP clients: the Python SDK (both eras of the protocol) and FastMCP.

The clients validate every structured result against the schema that the server declared, so that a mistake there
fails here.
"""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from mnemosyne import Checks, Server  # noqa: E402

import fastmcp  # noqa: E402
import httpx2  # noqa: E402
from fastmcp.client.transports import StreamableHttpTransport  # noqa: E402
from mcp.client.client import Client  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

TOOLS = {"search", "get_chunk", "list_libraries", "list_collections", "list_items", "get_health"}
NOTE = "# Tide table\n\nAt Kilbrannan the spring tide of 9 March rises 4.7 metres above the ochre mark.\n"


async def converse(checks, name, call, list_tools):
    """All six tools, in the order in which an agent would use them."""
    with checks.that(f"{name}: lists the six tools with schemas and descriptions"):
        tools = {tool.name: tool for tool in await list_tools()}
        assert set(tools) == TOOLS, sorted(tools)
        for tool in tools.values():
            assert tool.description and tool.input_schema["type"] == "object" and tool.output_schema, tool
            assert "workspace_id" not in str(tool.input_schema), tool
    with checks.that(f"{name}: get_health"):
        assert (await call("get_health", {}))["status"] == "ok"
    library = None
    with checks.that(f"{name}: list_libraries"):
        answer = await call("list_libraries", {})
        library = next(each for each in answer["libraries"] if each["name"] == "Tides")
        assert library["library_type"] == "technical" and library["item_count"] == 1
    with checks.that(f"{name}: list_collections and list_items of the library"):
        assert (await call("list_collections", {"library_uid": library["library_uid"]}))["count"] >= 1
        items = await call("list_items", {"library_uid": library["library_uid"]})
        assert [item["title"] for item in items["items"]] == ["Tide table"], items
    hit = None
    with checks.that(f"{name}: search finds the passage, with scores of its legs"):
        answer = await call("search", {"query": "How high is the spring tide at Kilbrannan?", "limit": 3})
        hit = answer["results"][0]
        assert "4.7 metres" in hit["text_preview"] and hit["legs"]["fulltext"]["rank"] == 1, answer
        assert answer["degraded"] == [] and answer["rerank_status"] == "skipped", answer
    with checks.that(f"{name}: get_chunk gives the whole passage"):
        chunk = await call("get_chunk", {"chunk_uid": hit["chunk_uid"]})
        assert "ochre mark" in chunk["text"] and chunk["item_title"] == "Tide table", chunk


async def sdk(checks, server, mode):
    headers = {"Authorization": f"Bearer {server.announced['token']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(server.announced["mcp"], http_client=http)
        async with Client(transport, mode=mode) as client:
            name = f"SDK, {mode}"
            with checks.that(f"{name}: knows whom it talks to"):
                modern = client.protocol_version >= "2026-07-28"
                assert modern == (mode != "legacy"), client.protocol_version
                # A client that is told the version asks for nothing when it connects, so it learns nothing either.
                if mode in ("legacy", "auto"):
                    assert client.server_info.name == "mnemosyne", client.server_info
                    assert "get_chunk" in (client.instructions or ""), client.instructions

            async def call(tool, arguments):
                result = await client.call_tool(tool, arguments)
                assert not result.is_error, result
                assert result.content, "structure without text"
                return result.structured_content

            async def list_tools():
                return (await client.list_tools()).tools

            await converse(checks, name, call, list_tools)
            with checks.that(f"{name}: an unknown chunk is an error that is told, not a broken connection"):
                try:
                    result = await client.call_tool("get_chunk", {"chunk_uid": "no-such-chunk"})
                    assert result.is_error, result
                except AssertionError:
                    raise
                except Exception as error:
                    assert "found" in str(error), error
                assert (await call("get_health", {}))["status"] == "ok"


async def fast(checks, server):
    transport = StreamableHttpTransport(server.announced["mcp"], auth=server.announced["token"])
    async with fastmcp.Client(transport) as client:
        async def call(tool, arguments):
            return (await client.call_tool(tool, arguments)).structured_content

        await converse(checks, "FastMCP", call, client.list_tools)


async def refused(checks, server, token):
    what = "a wrong token" if token else "no token"
    with checks.that(f"{what} is refused with 401 and a challenge"):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        seen = []

        async def look(response):
            seen.append((response.status_code, response.headers.get("www-authenticate", "")))

        async with httpx2.AsyncClient(headers=headers, timeout=30, event_hooks={"response": [look]}) as http:
            try:
                async with Client(streamable_http_client(server.announced["mcp"], http_client=http)) as client:
                    await client.list_tools()
            except BaseException as error:  # the client wraps it in a group
                assert not isinstance(error, (KeyboardInterrupt, SystemExit))
            else:
                raise AssertionError("the client was let in")
        assert any(status == 401 and challenge.startswith("Bearer") for status, challenge in seen), seen
        assert not any(status == 200 for status, _ in seen), seen


async def main():
    checks = Checks()
    with Server() as server:
        server.start()
        note = server.folder / "tides.md"
        note.write_text(NOTE)
        jobs = server.json("ingest", str(note), "--library", "Tides", "--type", "technical")
        assert jobs[0]["status"] == "completed", jobs
        for mode in ("legacy", "auto", "2026-07-28"):
            with checks.that(f"SDK, {mode}: connects and leaves in peace"):
                await sdk(checks, server, mode)
        with checks.that("FastMCP: connects and leaves in peace"):
            await fast(checks, server)
        await refused(checks, server, None)
        await refused(checks, server, "mnemosyne-no-such-token-0123456789")
    checks.finish()


asyncio.run(main())

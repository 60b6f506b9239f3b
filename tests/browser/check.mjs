// Drives a real browser through the pages as a person does, at three widths, light and dark, with and without the
// script, and measures every page with axe-core. The last line counts.
//
// MNEMOSYNE_EXECUTABLE: the program. MNEMOSYNE_CHROMIUM: the browser. NODE_MODULES: where playwright-core and axe-core are.
// MNEMOSYNE_SCREENSHOTS, where given: a folder for a picture of every page.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const require = createRequire(join(resolve(process.env.NODE_MODULES), "node_modules", "anchor.js"));
const { chromium } = require("playwright-core");
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PATIENCE = 60_000;
const fixtures = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures");
const folder = mkdtempSync(join(tmpdir(), "mnemosyne-browser-"));
const pictures = process.env.MNEMOSYNE_SCREENSHOTS;
if (pictures) mkdirSync(pictures, { recursive: true });

let passed = 0;
let failed = 0;
async function check(what, run) {
  try {
    await run();
    passed += 1;
    console.log(`ok     ${what}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${what}\n       ${String(error?.stack ?? error).split("\n").slice(0, 12).join("\n       ")}`);
  }
}
function demand(condition, message) {
  if (!condition) throw new Error(message);
}

// The server.
const announced = {};
const server = spawn(resolve(process.env.MNEMOSYNE_EXECUTABLE), ["serve"], {
  cwd: folder,
  env: {
    PATH: "/usr/bin:/bin",
    HOME: folder,
    MNEMOSYNE_DATA: join(folder, "data"),
    MNEMOSYNE_APP_LISTEN: "127.0.0.1:0",
    MNEMOSYNE_MCP_LISTEN: "127.0.0.1:0",
  },
  stdio: ["ignore", "pipe", "pipe"],
});
let log = "";
server.stderr.on("data", (data) => { log += data; });
await new Promise((done, refuse) => {
  server.on("exit", (code) => refuse(new Error(`the server ended (${code})\n${log}`)));
  createInterface({ input: server.stdout }).on("line", (line) => {
    const [, label, value] = /^(app|mcp|administrator|password|token):\s+(.*)$/.exec(line) ?? [];
    if (label) announced[label] = value;
    if (line.startsWith("Press Ctrl-C")) done();
  });
});
for (;;) {
  const answer = await fetch(`${announced.app}live/`).catch(() => null);
  if (answer?.ok) break;
}
const origin = new URL(announced.app).origin;

const browser = await chromium.launch({
  executablePath: process.env.MNEMOSYNE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});

// A browser of its own for each visit; what goes wrong in it silently is collected.
async function visit(options) {
  const context = await browser.newContext({ baseURL: origin, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const troubles = [];
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 404/.test(message.text())) troubles.push(message.text());
  });
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && !["data:", "blob:", "about:"].includes(url.protocol)) troubles.push(`asks ${url.origin}`);
  });
  return { context, page, troubles };
}

async function signIn(page) {
  await page.goto("/");
  await page.getByLabel("User name").fill(announced.administrator);
  await page.getByLabel("Password").fill(announced.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText(announced.administrator).first().waitFor({ state: "attached" });
}

async function axe(page, what) {
  await page.evaluate(`${axeSource};0`);
  const findings = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const lines = findings.violations.map((violation) =>
    `${violation.id} (${violation.impact}): ${violation.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ")}`);
  demand(lines.length === 0, `${what}: ${lines.join("\n")}`);
}

async function fitsTheWindow(page) {
  const over = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return null;
    const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > width + 1);
    return wide.slice(0, 3).map((element) => `${element.tagName}.${element.className}`).join(", ");
  });
  demand(over === null, `wider than the window: ${over}`);
}

// A page that has a live part never rests, so what is awaited is the content.
async function settled(page) {
  await page.waitForLoadState("load");
  await page.evaluate(() => document.fonts.ready);
}

async function createLibrary(page, name, type) {
  await page.goto("/libraries/new/");
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.locator(`input[name=library_type][value=${type}]`).check();
  await page.getByRole("button", { name: "Create the library" }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
  return new URL(page.url()).pathname;
}

// With the script, files go as soon as they are chosen.
async function choose(page, files) {
  await page.locator("#file").setInputFiles(files);
}

async function until(what, look) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await look();
    if (found) return found;
    demand(Date.now() < deadline, `gave up waiting for ${what}`);
  }
}

const manual = join(fixtures, "documents", "kestrel.xelatex.pdf");
const paper = join(fixtures, "documents", "tidal-mills.pandoc.docx");
const locked = join(fixtures, "broken", "encrypted.pdf");
const ugly = join(folder, "ugly.md");
writeFileSync(ugly, `# ${"Anunbrokenwordthatneverends".repeat(11)}\n\nOne zaffre sentence.\n\n${"x".repeat(900)}\n`);

let libraryPath = "/libraries/";
let itemPath = "/";
let jobPath = "/activity/";
try {
  const { context, page, troubles } = await visit({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });

  await check("a wrong password is refused in words, and what was typed stays", async () => {
    await page.goto("/");
    await page.getByLabel("User name").fill("admin");
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    demand((await page.getByLabel("User name").inputValue()) === "admin", "the name is gone");
    await axe(page, "sign in");
    // The browser notes the refusal itself, and nothing else may have gone wrong.
    const others = troubles.splice(0).filter((text) => !/status of 4\d\d/.test(text));
    demand(others.length === 0, others.join("\n"));
  });
  await check("signing in leads to a home page that names the user", async () => {
    await signIn(page);
    await axe(page, "home");
  });
  await check("an empty installation says what to do", async () => {
    await page.goto("/libraries/");
    await page.getByRole("link", { name: "Create a library" }).waitFor();
    await axe(page, "no libraries");
  });
  await check("a library is created", async () => {
    libraryPath = await createLibrary(page, "Manuals", "technical");
    await axe(page, "empty library");
  });
  await check("files are uploaded, their progress shows, and they arrive without a reload", async () => {
    await choose(page, [manual, paper, ugly]);
    await page.locator("#library-count").getByText("3 items").waitFor();
  });
  await check("a dropped folder keeps files of one name apart", async () => {
    await createLibrary(page, "Tree", "journal");
    const tree = join(folder, "tree");
    for (const name of ["a", "b"]) {
      mkdirSync(join(tree, name), { recursive: true });
      writeFileSync(join(tree, name, "notes.md"), `# Notes of ${name}\n\nOnly the folder ${name} holds this.\n`);
    }
    const zone = page.locator("form[data-upload]");
    await zone.scrollIntoViewIfNeeded();
    const box = await zone.boundingBox();
    const point = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    const mouse = await context.newCDPSession(page);
    const data = { items: [], files: [tree], dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) await mouse.send("Input.dispatchDragEvent", { type, ...point, data });
    await page.locator("#library-count").getByText("2 items").waitFor();
    const sent = await page.locator("[data-uploads]").innerText();
    demand(/tree\/a\/notes\.md/.test(sent) && /tree\/b\/notes\.md/.test(sent), sent);
  });
  await check("a file that fails says why and what to do", async () => {
    await page.goto(libraryPath);
    await choose(page, [locked]);
    await page.getByText("1 file failed").waitFor();
    await page.goto("/activity/");
    await page.getByText("encrypted.pdf").first().waitFor();
    demand(/password/i.test(await page.locator("main").innerText()), "no advice");
    await page.getByRole("link", { name: "encrypted.pdf" }).first().click();
    await page.locator("#job-live").getByText("failed").first().waitFor();
    jobPath = new URL(page.url()).pathname;
  });
  await check("an item shows its text, its passages and its concepts", async () => {
    await page.goto(libraryPath);
    await page.getByRole("link", { name: "Kestrel K-40 Irrigation Controller" }).first().click();
    await page.getByText("Leave 8 cm of air below the housing").first().waitFor();
    itemPath = new URL(page.url()).pathname;
    demand((await page.locator(".passage").count()) > 3, "no passages");
    await page.getByText("Page 2").first().waitFor();
  });
  await check("the original comes back as it was", async () => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Original" }).click()]);
    const got = readFileSync(await download.path());
    demand(got.equals(readFileSync(manual)), "other bytes");
  });
  await check("a question is answered with a marked passage, and the hit opens in context", async () => {
    await page.locator("#q").fill("How long does it wait after E27?");
    await page.keyboard.press("Enter");
    const hit = page.locator(".hit").first();
    await hit.waitFor();
    demand(/ninety minutes/.test(await hit.innerText()), await hit.innerText());
    demand((await hit.locator("mark").count()) > 0, "no word is marked");
    await hit.getByText("Why it is here").click();
    await axe(page, "search, explained");
    await hit.getByRole("heading").getByRole("link").click();
    await page.locator(".passage.is-target").waitFor();
    demand(/ninety minutes/.test(await page.locator(".passage.is-target").innerText()), "another passage");
  });
  await check("nothing relevant is said plainly", async () => {
    await page.goto("/search/?q=qwertzuiopasdfgh");
    await page.getByRole("heading", { name: "Nothing relevant" }).waitFor();
  });
  await check("a token is made, shown once, and can be revoked", async () => {
    await page.goto("/connect/");
    await page.getByLabel("Name", { exact: true }).fill("browser check");
    await page.getByRole("button", { name: "Create the token" }).click();
    const token = await page.locator("#new-token").innerText();
    demand(token.length >= 43, token);
    await axe(page, "connect with a new token");
    const status = () => fetch(announced.mcp, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", Accept: "application/json, text/event-stream" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} }),
    }).then((answer) => answer.status);
    demand((await status()) === 200, "the new token is refused");
    await page.goto("/connect/");
    demand(!(await page.content()).includes(token), "the token is shown again");
    await page.getByRole("button", { name: "Revoke browser check" }).click();
    await page.getByText(/revoked/).first().waitFor();
    demand((await status()) === 401, "a revoked token is accepted");
  });
  await check("the keyboard alone gets everywhere", async () => {
    await page.goto("/libraries/");
    await page.keyboard.press("Tab");
    const first = await page.evaluate(() => document.activeElement?.className);
    demand(/skip/.test(first ?? ""), `the first stop is ${first}`);
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("/");
    demand((await page.evaluate(() => document.activeElement?.id)) === "q", "/ does not lead to the search field");
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Control+k");
    await page.locator("dialog[open]").waitFor();
    await axe(page, "palette");
    await page.keyboard.press("Escape");
  });
  await check("nothing went wrong behind the pages", async () => {
    demand(troubles.length === 0, troubles.slice(0, 5).join("\n"));
  });
  const state = await context.storageState();
  await context.close();

  const pages = {
    home: "/", libraries: "/libraries/", "new library": "/libraries/new/", library: libraryPath,
    "edit library": `${libraryPath}edit/`, "delete library": `${libraryPath}delete/`, item: itemPath,
    search: "/search/", results: "/search/?q=tide+mill+power", nothing: "/search/?q=qwertzuiop", activity: "/activity/", job: jobPath,
    "libraries by size": "/libraries/?sort=items", "jobs by name": "/activity/?q=pdf&sort=name", connect: "/connect/", models: "/models/",
    "new provider": "/models/providers/new/", profile: "/profile/",
    "change password": "/accounts/password_change/", people: "/people/", "new user": "/people/new/", user: "/people/1/",
    audit: "/audit/", "forgotten password": "/accounts/password_reset/", "spent link": "/accounts/reset/MQ/abc-def/", "not found": "/no/such/page/",
  };
  for (const width of [375, 900, 1440]) {
    for (const colorScheme of ["light", "dark"]) {
      const around = await visit({ viewport: { width, height: 900 }, colorScheme, storageState: state });
      for (const [name, path] of Object.entries(pages)) {
        await check(`${name}, ${width} px, ${colorScheme}: fits, and axe finds nothing`, async () => {
          await around.page.goto(path);
          await settled(around.page);
          if (pictures) {
            await around.page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
          }
          await fitsTheWindow(around.page);
          await axe(around.page, name);
          demand(around.troubles.length === 0, around.troubles.splice(0).join("\n"));
        });
      }
      await around.context.close();
    }
  }

  const plain = await visit({ viewport: { width: 900, height: 900 }, javaScriptEnabled: false });
  await check("without the script: sign in, create a library, upload, find, open, sign out", async () => {
    await signIn(plain.page);
    const path = await createLibrary(plain.page, "Plain", "journal");
    await choose(plain.page, [join(fixtures, "documents", "glacier-diary.md")]);
    await plain.page.getByRole("button", { name: "Upload" }).click();
    await until("the item without the script", async () => {
      await plain.page.goto(path);
      return (await plain.page.locator("#library-count").innerText()).startsWith("1 item");
    });
    await plain.page.locator("#q").fill("When did the lake behind the moraine empty?");
    await plain.page.keyboard.press("Enter");
    const hit = plain.page.locator(".hit").first();
    demand(/emptied in the night/.test(await hit.innerText()), await hit.innerText());
    await hit.getByRole("heading").getByRole("link").click();
    await plain.page.getByText("eleven metres").first().waitFor();
    await plain.page.getByRole("button", { name: "Sign out" }).click();
    await plain.page.getByLabel("User name").waitFor();
    await plain.page.goto(path);
    await plain.page.getByLabel("User name").waitFor();
  });
  await plain.context.close();
} finally {
  await browser.close();
  server.removeAllListeners("exit");
  server.kill("SIGTERM");
  await new Promise((done) => {
    if (server.exitCode !== null || server.signalCode !== null) done();
    else server.on("exit", done);
  });
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);

// Draws the OpenAPI document of this server, and sends requests with whatever the browser is signed in by.
"use strict";

const root = document.getElementById("api");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function cookie(name) {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(name + "="));
  return found ? found.slice(name.length + 1) : "";
}

/** A sentence whose `words` in back quotes are code. */
function prose(text) {
  return (text || "").split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
}

/** The schema behind a reference. */
function resolve(api, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return resolve(api, api.components.schemas[schema.$ref.split("/").pop()]);
}

function types(schema) {
  const kinds = [].concat(schema.type || []);
  return kinds.filter((kind) => kind !== "null");
}

/** A value of the shape that a schema asks for. */
function example(api, schema, depth = 0) {
  const shape = resolve(api, schema);
  if (shape.example !== undefined) return shape.example;
  if (shape.oneOf) return example(api, shape.oneOf.find((one) => one.type !== "null"), depth);
  const kind = types(shape)[0];
  if (kind === "object" || shape.properties) {
    if (depth > 2) return {};
    const required = new Set(shape.required || []);
    const fields = Object.entries(shape.properties || {}).filter(([name]) => required.has(name) || required.size === 0);
    return Object.fromEntries(fields.map(([name, field]) => [name, example(api, field, depth + 1)]));
  }
  return { array: [], integer: 0, number: 0, boolean: false }[kind] ?? "";
}

function typeName(api, schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.oneOf) return schema.oneOf.map((one) => typeName(api, one)).filter((name) => name !== "null").join(" or ");
  const kind = types(schema)[0] || "any";
  return kind === "array" ? `list of ${typeName(api, schema.items)}` : kind;
}

function parameterField(api, parameter) {
  const input = element("input", { name: parameter.name, required: parameter.required, "data-in": parameter.in });
  return element(
    "label",
    {},
    element("code", {}, parameter.name),
    input,
    element("small", {}, ...prose([parameter.description, typeName(api, parameter.schema)].filter(Boolean).join(" · "))),
  );
}

function bodyFields(api, content) {
  const kinds = Object.keys(content);
  const holder = element("div");
  const choice = element("select", { name: "content-type", "aria-label": "Content type" });
  choice.append(...kinds.map((kind) => element("option", { value: kind }, kind)));
  const draw = () => {
    const schema = content[choice.value].schema;
    if (choice.value !== "multipart/form-data") {
      const text = element("textarea", { name: "body", "aria-label": "Body", spellcheck: "false" });
      text.value = JSON.stringify(example(api, schema), null, 2);
      holder.replaceChildren(text, fieldTable(api, schema));
      return;
    }
    const fields = Object.entries(resolve(api, schema).properties || {}).map(([name, field]) => {
      const kind = field.format === "binary" ? "file" : "text";
      return element(
        "label",
        {},
        element("code", {}, name),
        element("input", { name, type: kind, "data-in": "form" }),
        element("small", {}, ...prose(field.description)),
      );
    });
    holder.replaceChildren(...fields);
  };
  choice.addEventListener("change", draw);
  draw();
  return [element("h3", {}, "Body"), choice, holder];
}

/** What a shape is made of. */
function fieldTable(api, schema) {
  const shape = resolve(api, schema);
  const rows = Object.entries(shape.properties || {}).map(([name, field]) => {
    const required = (shape.required || []).includes(name) ? " (required)" : "";
    const about = field.description || resolve(api, field).description || "";
    return element(
      "tr",
      {},
      element("td", {}, element("code", {}, name)),
      element("td", {}, typeName(api, field) + required),
      element("td", {}, ...prose(about)),
    );
  });
  return rows.length ? element("table", {}, ...rows) : element("p");
}

function answers(api, responses) {
  const rows = Object.entries(responses).map(([status, answer]) => {
    const content = Object.entries(answer.content || {})[0];
    const shape = content ? typeName(api, content[1].schema) || content[0] : "";
    return element(
      "tr",
      {},
      element("td", {}, element("code", {}, status)),
      element("td", {}, shape),
      element("td", {}, ...prose(answer.description)),
    );
  });
  return element("table", {}, ...rows);
}

async function send(event, path, method, output) {
  event.preventDefault();
  const form = event.target;
  const query = new URLSearchParams();
  const upload = new FormData();
  let address = path;
  for (const input of form.querySelectorAll("input[data-in]")) {
    const place = input.dataset.in;
    const isFile = input.type === "file";
    if (isFile ? input.files.length === 0 : input.value === "") continue;
    if (place === "path") address = address.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (place === "query") query.append(input.name, input.value);
    else upload.append(input.name, isFile ? input.files[0] : input.value);
  }
  if (query.size) address += "?" + query;
  const request = { method: method.toUpperCase(), headers: { "X-CSRFToken": cookie("csrftoken") } };
  const kind = form.elements.namedItem("content-type");
  if (kind && kind.value === "multipart/form-data") {
    request.body = upload;
  } else if (kind) {
    request.headers["Content-Type"] = kind.value;
    request.body = form.elements.namedItem("body").value;
  }
  output.textContent = "…";
  const began = performance.now();
  try {
    const response = await fetch(location.origin + address, request);
    const ms = Math.round(performance.now() - began);
    const type = response.headers.get("content-type") || "";
    let text;
    if (/json/.test(type)) text = JSON.stringify(await response.json(), null, 2);
    else if (/^text\//.test(type)) text = await response.text();
    else text = `${(await response.blob()).size} bytes of ${type || "nothing"}`;
    const limit = 100000;
    const shown = text.length > limit ? `${text.slice(0, limit)}\n… ${text.length - limit} more characters` : text;
    output.textContent = `${request.method} ${address}\n${response.status} ${response.statusText} · ${ms} ms\n\n${shown}`;
  } catch (error) {
    output.textContent = `The request did not get through: ${error.message}`;
  }
}

function operation(api, path, method, described) {
  const parameters = described.parameters || [];
  const output = element("pre", { role: "status" });
  const form = element("form", {}, element("p", {}, ...prose(described.description)));
  if (parameters.length) {
    form.append(element("h3", {}, "Parameters"), ...parameters.map((one) => parameterField(api, one)));
  }
  if (described.requestBody) form.append(...bodyFields(api, described.requestBody.content));
  form.append(
    element("h3", {}, "Answers"),
    answers(api, described.responses),
    element("button", { type: "submit" }, "Send"),
    output,
  );
  form.addEventListener("submit", (event) => send(event, path, method, output));
  return element(
    "details",
    { class: "operation", id: described.operationId },
    element(
      "summary",
      {},
      element("span", { class: `verb ${method}` }, method.toUpperCase()),
      element("span", { class: "path" }, path),
      element("span", { class: "said" }, ...prose(described.summary)),
    ),
    form,
  );
}

function draw(api) {
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of ["get", "post", "patch", "delete"]) {
      if (!item[method]) continue;
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(api, path, method, item[method]));
    }
  }
  const sections = [...groups].map(([tag, operations]) =>
    element("section", {}, element("h2", {}, tag), ...operations));
  root.replaceChildren(
    element("p", { class: "intro" }, ...prose(`Version ${api.info.version}. ${api.info.description || ""}`)),
    ...sections,
  );
  const opened = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (opened) opened.open = true;
}

// The origin is named because the address of the page may hold a password, which fetch refuses to inherit.
fetch(location.origin + "/library/api/schema/")
  .then((response) => {
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return response.json();
  })
  .then(draw)
  .catch((error) => {
    root.replaceChildren(element("p", { class: "problem" }, `The API's document could not be loaded: ${error.message}.`));
  });

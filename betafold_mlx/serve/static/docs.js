// The OpenAPI document of this server, laid out for reading.

import { ask, element } from "./api.js";

const $ = (id) => document.getElementById(id);

start();

async function start() {
  let api;
  try {
    api = await ask("GET", "/openapi.json");
  } catch (error) {
    $("about").textContent = error.message;
    return;
  }
  $("version").textContent = `HTTP interface, version ${api.info.version}`;
  $("about").textContent = api.info.description;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) $("operations").append(describe(path, method, operation, api));
  }
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    $("schemas").append(element("details", { id: `schema-${name}` }, element("summary", { class: "path", textContent: name }),
      element("p", { textContent: schema.description }), fields(schema)));
  }
}

function describe(path, method, operation, api) {
  const card = element("section", { class: "card" },
    element("div", {}, element("span", { class: "verb", textContent: method.toUpperCase() }), element("span", { class: "path", textContent: path })),
    element("p", {}, ...words(operation.description)));
  for (const { name, in: place, schema } of operation.parameters ?? []) {
    card.append(element("p", {}, element("code", { textContent: name }), ` in the ${place}: ${kind(schema)}`));
  }
  if (operation.requestBody) {
    const [body] = Object.values(operation.requestBody.content);
    const example = body.example ?? api.components.schemas[nameOf(body.schema)].example;
    card.append(element("pre", { textContent: curl(path, example) }));
    if (body.schema.$ref) card.append(element("p", {}, "Body: ", link(nameOf(body.schema))));
  }
  const list = element("ul");
  for (const [status, answer] of Object.entries(operation.responses)) {
    const types = Object.entries(answer.content ?? {}).flatMap(([type, { schema }]) => [" ", schema.$ref ? link(nameOf(schema)) : element("code", { textContent: type })]);
    list.append(element("li", {}, element("code", { textContent: status }), " ", ...words(answer.description), ...types));
  }
  card.append(element("details", {}, element("summary", { textContent: "Answers" }), list));
  return card;
}

// Text in which what stands in backticks is code.
function words(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", { textContent: part }) : part));
}

function curl(path, example) {
  const address = `${location.origin}${path}`;
  if (typeof example === "string") return `curl --data ${example} ${address}`;
  return `curl --json '${JSON.stringify(example).replaceAll("'", "'\\''")}' ${address}`;
}

function fields(schema) {
  return element("ul", {}, ...Object.entries(schema.properties).map(([name, field]) => {
    const facts = [kind(field), schema.required?.includes(name) ? "required" : "", "default" in field ? `default ${JSON.stringify(field.default)}` : ""];
    return element("li", {}, element("code", { textContent: name }), ` ${facts.filter(Boolean).join(", ")}. `,
      ...words(field.description ?? ""), ...(field.$ref ? [link(nameOf(field))] : []));
  }));
}

function kind(field) {
  if (field.enum) return field.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in field) return JSON.stringify(field.const);
  if (field.anyOf) return field.anyOf.map(kind).join(" | ");
  if (field.items) return `list of ${kind(field.items)}`;
  return field.type ?? nameOf(field);
}

const nameOf = (schema) => schema.$ref?.split("/").at(-1) ?? "";

function link(name) {
  return element("a", { href: `#schema-${name}`, textContent: name, onclick: () => { $(`schema-${name}`).open = true; } });
}

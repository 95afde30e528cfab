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
    $("schemas").append(element("details", { id: `schema-${name}` }, element("summary", { class: "path", textContent: name }), shape(schema)));
  }
}

function describe(path, method, operation, api) {
  const card = element("section", { class: "card" },
    element("div", {}, element("span", { class: "verb", textContent: method.toUpperCase() }), element("span", { class: "path", textContent: path })),
    element("p", {}, ...words([operation.summary, operation.description].filter(Boolean).join(". "))));
  for (const parameter of operation.parameters ?? []) {
    const values = parameter.schema.enum ? ` (${parameter.schema.enum.join(", ")})` : "";
    card.append(element("p", {}, element("code", { textContent: parameter.name }), `${values} in the ${parameter.in}: ${parameter.description}`));
  }
  const content = operation.requestBody?.content;
  if (content) {
    const [type, body] = Object.entries(content)[0];
    const schema = resolve(body.schema, api);
    card.append(element("pre", { textContent: curl(path, type, body.example ?? schema.example) }));
    if (body.schema.$ref) card.append(element("p", {}, "Body: ", link(body.schema)));
  }
  const list = element("ul");
  for (const [status, answer] of Object.entries(operation.responses)) {
    const [type, body] = Object.entries(answer.content ?? {})[0] ?? ["", {}];
    const item = element("li", {}, element("code", { textContent: status }), " ", ...words(answer.description), " ");
    if (status.startsWith("2")) item.append(element("code", { textContent: type }), " ", ...(body.schema?.$ref ? [link(body.schema)] : []));
    list.append(item);
  }
  card.append(element("details", {}, element("summary", { textContent: "Answers" }), list));
  return card;
}

// Text in which what stands in backticks is code.
function words(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", { textContent: part }) : part));
}

function curl(path, type, example) {
  const address = `${location.origin}${path}`;
  if (typeof example === "string") return `curl --data ${example} ${address}`;
  const text = JSON.stringify(example).replaceAll("'", "'\\''");
  return `curl --json '${text}' ${address}`;
}

function shape(schema) {
  const list = element("ul");
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const facts = [kind(field), schema.required?.includes(name) ? "required" : "", "default" in field ? `default ${JSON.stringify(field.default)}` : ""];
    list.append(element("li", {}, element("code", { textContent: name }), ` ${facts.filter(Boolean).join(", ")}. `, ...words(field.description ?? ""), ...(field.$ref ? [" ", link(field)] : [])));
  }
  return element("div", {}, element("p", {}, ...words(schema.description ?? "")), list);
}

function kind(field) {
  if (field.enum) return field.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (field.oneOf) return field.oneOf.map((each) => ("const" in each ? JSON.stringify(each.const) : kind(each))).join(" | ");
  if (field.type === "array") return `list of ${field.items.type ?? kind(field.items)}`;
  const range = "maximum" in field ? ` from ${field.minimum} to ${field.maximum}` : "";
  return `${[field.type ?? ""].flat().join(" or ")}${range}`;
}

function resolve(schema, api) {
  return schema.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema;
}

function link(schema) {
  const name = schema.$ref.split("/").at(-1);
  return element("a", {
    href: `#schema-${name}`, textContent: name,
    onclick: () => { document.getElementById(`schema-${name}`).open = true; },
  });
}

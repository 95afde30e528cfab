// Requests to this server, and what is wrong with them.

export class Refused extends Error {
  constructor(status, message, fields, retryAfter) {
    super(message);
    this.status = status;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

export async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "The server does not answer: is it still running?", [], null);
  }
  let document = null;
  try {
    document = await answer.json();
  } catch { /* told below */ }
  if (answer.ok && document !== null) return document;
  const error = document?.error ?? { message: `The server answered ${answer.status}.`, fields: [] };
  throw new Refused(answer.status, error.message, error.fields, Number(answer.headers.get("Retry-After")) || null);
}

// Show what is wrong beside the fields of a form; return what has no field of its own there.
export function showProblems(form, error) {
  const left = [];
  for (const { field, message } of error.fields ?? []) {
    const place = form.querySelector(`[data-field="${CSS.escape(field)}"]`);
    const slot = place?.querySelector(".error");
    if (!slot) {
      left.push(`${field}: ${message}`);
      continue;
    }
    slot.textContent = slot.textContent ? `${slot.textContent}. ${message}` : message;
    place.querySelector("input, textarea, select")?.setAttribute("aria-invalid", "true");
  }
  if (!error.fields?.length) left.push(error.message);
  form.querySelector('[aria-invalid="true"]')?.focus();
  return left.join(". ");
}

export function clearProblems(form) {
  for (const slot of form.querySelectorAll(".error")) slot.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

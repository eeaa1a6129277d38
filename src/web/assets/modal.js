// Dialogs: the forms an application opens, and questions of the page itself.

import { h, iconButton } from "./dom.js";

const PARAGRAPH = 2;

/** The form of an application. `send(inputs)` resolves when the application has answered. */
export function openForm({ title, components }, send) {
  const fields = components.flatMap((row) => (row.components ?? [row.component]).filter(Boolean).map((input) => ({ ...input, label: input.label ?? row.label, description: row.description })));
  const inputs = fields.filter((field) => field.type === 4).map(field);
  const problem = h("p", { class: "failure", role: "alert", hidden: true });
  const submit = h("button", { type: "submit", class: "control primary" }, "Submit");
  const form = h("form", { method: "dialog", novalidate: true }, inputs.map(({ element }) => element), problem, h("footer", null, h("button", { type: "button", class: "control secondary", click: () => dialog.close() }, "Cancel"), submit));
  const dialog = show(title, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = inputs.find(({ control }) => !control.checkValidity());
    if (wrong) {
      tell(problem, wrong.control.validationMessage);
      return wrong.control.focus();
    }
    submit.disabled = true;
    problem.hidden = true;
    try {
      await send(Object.fromEntries(inputs.map(({ id, control }) => [id, control.value])));
      dialog.close();
    } catch (error) {
      tell(problem, error.message);
      submit.disabled = false;
    }
  });
  // As in any chat: Enter sends one line, Ctrl+Enter sends from anywhere.
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  inputs[0]?.control.focus();
}

function tell(problem, text) {
  problem.textContent = text;
  problem.hidden = false;
}

function field(input) {
  const long = input.style === PARAGRAPH;
  const control = h(long ? "textarea" : "input", {
    id: `input-${input.custom_id}`,
    name: input.custom_id,
    required: input.required !== false,
    minlength: input.min_length,
    maxlength: input.max_length,
    placeholder: input.placeholder,
    rows: long ? 5 : null,
    autocomplete: "off",
  });
  control.value = input.value ?? "";
  const count = h("span", { class: "count", "aria-hidden": "true" });
  const recount = () => (count.textContent = input.max_length ? `${[...control.value].length} / ${input.max_length}` : "");
  control.addEventListener("input", recount);
  recount();
  const label = h("label", { for: control.id }, input.label, control.required ? h("span", { class: "required", "aria-hidden": "true" }, " *") : null);
  const element = h("div", { class: "form-field" }, h("div", { class: "form-label" }, label, count), input.description ? h("small", null, input.description) : null, control);
  return { id: input.custom_id, control, element };
}

/** Asks before something that cannot be taken back; resolves to true or false. */
export function confirm(title, body, action) {
  return new Promise((resolve) => {
    const yes = h("button", { type: "submit", class: "control danger", value: "yes" }, action);
    const form = h("form", { method: "dialog" }, body, h("footer", null, h("button", { type: "submit", class: "control secondary", value: "no" }, "Cancel"), yes));
    const dialog = show(title, form);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
    yes.focus();
  });
}

/** A modal dialog that removes itself when it closes. */
export function show(title, body, kind = "") {
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog", { class: `dialog ${kind}`, "aria-labelledby": "dialog-title" }, h("header", null, heading, iconButton("close", "Close", () => dialog.close())), body);
  dialog.addEventListener("close", () => dialog.remove());
  // The backdrop belongs to the dialog: a press outside its box closes it.
  dialog.addEventListener("mousedown", (event) => event.target === dialog && outside(dialog, event) && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function outside(dialog, { clientX, clientY }) {
  const box = dialog.getBoundingClientRect();
  return clientX < box.left || clientX > box.right || clientY < box.top || clientY > box.bottom;
}

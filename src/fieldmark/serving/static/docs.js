// The interface as a page, drawn from /openapi.json; asks no other server.
import { ask } from "./api.js";
import { byId, element } from "./dom.js";

const METHODS = ["get", "put", "post", "delete", "patch"];

// Text with `code` in it, as elements.
const inline = (text = "") => text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));

function resolve(document, schema) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? (document.components?.schemas?.[name] ?? {}) : (schema ?? {});
}

function typeOf(document, schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const parts = schema.anyOf ?? schema.oneOf;
  if (parts) return parts.map((part) => typeOf(document, part)).join(" | ");
  if (schema.type === "array") return `[${typeOf(document, schema.items)}]`;
  return [schema.type].flat().join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

function fields(document, schema) {
  const { properties = {}, required = [] } = resolve(document, schema);
  const rows = Object.entries(properties).map(([name, field]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", {}, name)),
      element("td", {}, element("code", {}, typeOf(document, field))),
      element("td", {}, [required.includes(name) ? "" : "optional. ", field.description ?? ""].join("")),
    ),
  );
  return rows.length ? table(["Field", "Type", "Meaning"], rows) : null;
}

function table(headings, rows) {
  const head = element("tr", {}, ...headings.map((title) => element("th", { scope: "col" }, title)));
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": headings.join(", ") },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)),
  );
}

function operation(document, path, method, described) {
  const parameters = (described.parameters ?? []).map((parameter) => {
    const {
      name,
      in: where,
      schema,
      description,
      required,
    } = parameter.$ref ? document.components.parameters[parameter.$ref.split("/").at(-1)] : parameter;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", {}, name)),
      element("td", {}, `${where}${required ? "" : ", optional"}`),
      element("td", {}, element("code", {}, typeOf(document, schema))),
      element("td", {}, description ?? ""),
    );
  });
  const responses = Object.entries(described.responses ?? {}).map(([status, given]) => {
    const response = given.$ref ? document.components.responses[given.$ref.split("/").at(-1)] : given;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", {}, status)),
      element("td", {}, response?.description ?? ""),
      element(
        "td",
        {},
        Object.entries(response?.content ?? {})
          .map(([type, { schema }]) => `${type} ${typeOf(document, schema)}`)
          .join(", "),
      ),
    );
  });
  const bodies = Object.entries(described.requestBody?.content ?? {}).flatMap(([type, { schema }]) => [
    element("p", {}, "Body: ", element("code", {}, type)),
    fields(document, schema),
  ]);
  return element(
    "section",
    { class: "operation" },
    element(
      "h2",
      {},
      element("span", { class: `method ${method}` }, method.toUpperCase()),
      " ",
      element("code", {}, path),
    ),
    element("p", {}, ...inline(described.summary)),
    described.description ? element("p", { class: "soft" }, ...inline(described.description)) : null,
    ...(parameters.length
      ? [element("h3", {}, "Parameters"), table(["Name", "In", "Type", "Meaning"], parameters)]
      : []),
    ...bodies,
    responses.length
      ? element(
          "details",
          {},
          element("summary", {}, `Answers: ${Object.keys(described.responses).join(", ")}`),
          table(["Status", "Meaning", "Content"], responses),
        )
      : null,
  );
}

async function start() {
  const place = byId("operations");
  try {
    const document = await ask("/openapi.json");
    byId("lead").replaceChildren(...inline(document.info?.description));
    // What programs ask comes first.
    const paths = Object.entries(document.paths ?? {}).sort(
      ([a], [b]) => b.startsWith("/api/") - a.startsWith("/api/"),
    );
    const operations = paths.flatMap(([path, methods]) =>
      METHODS.filter((method) => methods[method]).map((method) => operation(document, path, method, methods[method])),
    );
    const schemas = Object.entries(document.components?.schemas ?? {}).map(([name, schema]) =>
      element(
        "section",
        { class: "operation" },
        element("h2", {}, element("code", {}, name)),
        element("p", {}, schema.description ?? ""),
        fields(document, schema),
      ),
    );
    place.replaceChildren(...operations, ...schemas);
  } catch (error) {
    byId("lead").textContent = `The document cannot be read: ${error.message}.`;
  }
}

start();
